// Work of the event loop, done in slices. While a slice runs, the event loop does nothing else; between two slices it handles
// all that has arrived. Where much is waiting, it rests between two slices for twice as long as the last one took, so that most
// of its time is left for others. Owners take turns, and so does the work of one owner.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { Steps } from '../steps.js'
import { OwnerQueues } from './owner-queues.js'

/** How long one slice runs, in milliseconds, and how much longer the rest is. */
const sliceMs = 1
const restFactor = 2

interface Job {
  readonly steps: Steps<unknown>
  readonly signal: AbortSignal | undefined
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

export class SlicedWork {
  readonly #jobs = new OwnerQueues<Job>()
  #planned = false
  /** How long to rest before the next slice, in milliseconds. */
  #restMs = 0

  constructor(
    /** In milliseconds. */
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Pieces of work that are not finished. */
  get waiting(): number {
    return this.#jobs.size
  }

  /**
   * Does the steps in slices.
   * @param signal aborted when nobody waits for the result any more; the steps that are left are not done then
   * @returns what the steps return
   * @throws whatever the steps throw; Problem `client_closed_request` once aborted
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
      const begun = this.now()
      this.#slice(begun + sliceMs)
      const tookMs = this.now() - begun
      this.#restMs = tookMs < sliceMs ? 0 : restFactor * tookMs
      this.#plan()
    }
    if (this.#restMs > 0) setTimeout(work, this.#restMs)
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

  /** @returns whether the job is over */
  #advance({ steps, signal, resolve, reject }: Job, until: number): boolean {
    try {
      do {
        if (signal?.aborted) {
          steps.return(undefined)
          reject(new Problem('client_closed_request', 'the client left before the request was answered'))
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
