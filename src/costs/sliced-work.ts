// Work of the event loop, done in slices. Between two slices the event loop handles all events that have arrived. If the work
// uses its whole slice, the next slice waits twice as long as the last one took, so that most of the time is left for other
// events. Owners take turns, and so do the jobs of one owner.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { Steps } from '../steps.js'
import { OwnerQueues } from './owner-queues.js'

/** Length of a slice, in milliseconds. */
const sliceMs = 1
/** Length of the pause after a full slice, relative to the slice. */
const pauseFactor = 2

interface Job {
  readonly steps: Steps<unknown>
  readonly signal: AbortSignal | undefined
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

export class SlicedWork {
  readonly #jobs = new OwnerQueues<Job>()
  #planned = false
  /** Length of the pause before the next slice, in milliseconds. */
  #pauseMs = 0

  constructor(
    /** The clock, in milliseconds. */
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Number of jobs that are not finished. */
  get waiting(): number {
    return this.#jobs.size
  }

  /**
   * Runs the steps in slices.
   * @param signal aborted when the client has disconnected; the remaining steps then do not run
   * @returns the result of the steps
   * @throws whatever the steps throw; Problem `client_closed_request` once the signal is aborted
   */
  run<T>(owner: Owner, steps: Steps<T>, signal?: AbortSignal): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const job: Job = { steps, signal, resolve: (value) => resolve(value as T), reject }
      this.#jobs.add(owner, job)
      this.#plan()
    })
  }

  #plan(): void {
    if (this.#planned || this.#jobs.isEmpty) return
    this.#planned = true
    const work = () => {
      this.#planned = false
      const startedAt = this.now()
      this.#slice(startedAt + sliceMs)
      const tookMs = this.now() - startedAt
      this.#pauseMs = tookMs < sliceMs ? 0 : pauseFactor * tookMs
      this.#plan()
    }
    if (this.#pauseMs > 0) setTimeout(work, this.#pauseMs)
    else setImmediate(work)
  }

  #slice(until: number): void {
    do {
      const first = this.#jobs.first()
      if (first === undefined) return
      const [owner, job] = first
      this.#jobs.take(owner)
      if (!this.#advance(job, until)) this.#jobs.add(owner, job)
    } while (this.now() < until)
  }

  /** @returns whether the job has ended */
  #advance({ steps, signal, resolve, reject }: Job, until: number): boolean {
    try {
      do {
        if (signal?.aborted) {
          steps.return(undefined)
          reject(new Problem('client_closed_request', 'the client disconnected before the response was ready'))
          return true
        }
        const step = steps.next()
        if (step.done) {
          resolve(step.value)
          return true
        }
      } while (this.now() < until)
      return false
    } catch (error) {
      reject(error)
      return true
    }
  }
}
