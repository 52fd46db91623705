// Runs the jobs of the store: a few at once, in the order of queue.ts. Every replica has a runner. One that dies no longer
// renews the leases of its jobs, and the others take them over.

import { randomBytes } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { SlicedWork } from '../costs/sliced-work.js'
import type { Owner } from '../owner.js'
import { reasonOf } from '../problem.js'
import { type AuditLog, audit } from '../tenants/audit.js'
import { operator, type TaskOwner } from '../tenants/tenant.js'
import { isUnfinished, type Job, type JobState } from './job.js'
import { type JobLog, JobRun, type RunParts, type RunPauses } from './job-run.js'
import { nextJob } from './queue.js'

export interface RunnerOptions extends Omit<RunParts, 'log'> {
  /** Most jobs that run at the same time; 0: none run here. */
  readonly atOnce: number
  readonly work: SlicedWork
  readonly log: JobLog & AuditLog
  /** Called when a job has ended here. `seconds`: of its last start; undefined if it never ran. */
  readonly onEnd?: (state: JobState, seconds: number | undefined) => void
  readonly pauses?: RunnerPauses
}

export interface RunnerPauses extends RunPauses {
  /** Between two looks for jobs that other replicas have accepted or lost, in milliseconds. */
  readonly look: number
  /** A lease that is not renewed for this long is over, in milliseconds. */
  readonly lease: number
}

const usualPauses: RunnerPauses = { look: 1_000, lease: 30_000, renew: 5_000, retry: 1_000 }

/** Owners whose last start is remembered, and leases of other runners. */
const mostRemembered = 10_000

export class Runner {
  /** Not used again: a restarted server is another runner. */
  readonly id = newToken()
  readonly #pauses: RunnerPauses
  readonly #runs = new Map<string, JobRun>()
  /** The last start of each owner, the longest ago first. */
  readonly #lastStarts = new Map<Owner, number>()
  /** Leases of other runners by job: which renewal was seen, and when it was first seen. */
  readonly #leases = new Map<string, { readonly renewal: string; readonly seenAt: number }>()
  readonly #stopping = new AbortController()
  #wake = (): void => {}
  #looking: Promise<void> | undefined
  #lastFailure: string | undefined

  constructor(readonly options: RunnerOptions) {
    this.#pauses = options.pauses ?? usualPauses
  }

  /** Starts to run jobs. Files that an earlier process has left behind are removed. */
  start(): void {
    if (this.options.atOnce > 0) this.#looking ??= this.#lookRepeatedly()
  }

  /** Number of jobs that run here. */
  get running(): number {
    return this.#runs.size
  }

  /** Looks for jobs at once. */
  wake(): void {
    this.#wake()
  }

  /**
   * Cancels a job. If it runs here, its learner is killed.
   * @returns the job before
   * @throws Problem `unknown_job`, `job_finished`
   */
  async cancel(owner: TaskOwner, id: string): Promise<Job> {
    const before = await this.options.jobs.cancel(owner, id)
    this.#runs.get(id)?.interrupt('lost')
    this.options.onEnd?.('cancelled', undefined)
    return before
  }

  /** The run of a job, if it runs here. */
  runOf({ id, lease }: Job): JobRun | undefined {
    const run = this.#runs.get(id)
    return run?.claim.token === lease?.token ? run : undefined
  }

  /** Kills the learners, and puts their jobs back into the queue. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    this.#wake()
    for (const run of this.#runs.values()) run.interrupt('shutdown')
    await this.#looking
    await Promise.all(Array.from(this.#runs.values(), ({ ended }) => ended.catch(() => {})))
  }

  async #lookRepeatedly(): Promise<void> {
    const { directory, atOnce, log } = this.options
    const { signal } = this.#stopping
    await prepare(directory).catch((error: Error) =>
      log.error({ reason: error.message }, 'the directory for the files of jobs cannot be used'),
    )
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      try {
        while (!signal.aborted && this.#runs.size < atOnce && (await this.#startNext()));
        this.#lastFailure = undefined
      } catch (error) {
        const reason = reasonOf(error)
        if (reason !== this.#lastFailure) log.warn({ reason }, 'cannot look for jobs; the server will try again')
        this.#lastFailure = reason
      }
      const ended = new AbortController()
      await Promise.race([woken, delay(this.#pauses.look, undefined, { ref: false, signal: ended.signal })])
      ended.abort()
    }
  }

  /** @returns whether there may be further jobs */
  async #startNext(): Promise<boolean> {
    const { jobs, work } = this.options
    const { store } = jobs
    const steps = nextJob(store, {
      lastStart: (owner) => this.#lastStarts.get(owner) ?? 0,
      isAbandoned: (job) => this.#isAbandoned(job),
    })
    const job = await work.run(operator, steps)
    if (job === undefined || this.#stopping.signal.aborted) return false
    const token = newToken()
    const claimed = await jobs.claim(job, this.id, token)
    if (claimed === undefined) return true
    if (claimed.state !== 'running') {
      this.#report(claimed)
      return true
    }
    putLast(this.#lastStarts, claimed.owner, Date.now())
    this.#begin(claimed, token)
    return true
  }

  #begin(job: Job, token: string): void {
    const { log } = this.options
    const { id, owner, task, attempt } = job
    log.info({ job: id, owner, task, attempt }, 'a job starts')
    const run = new JobRun({ job, token }, this.options, this.#pauses)
    this.#runs.set(id, run)
    if (this.#stopping.signal.aborted) run.interrupt('shutdown')
    void run.ended
      .then((ended) => ended && this.#report(ended))
      .catch((error: unknown) =>
        log.error({ job: id, reason: reasonOf(error) }, 'the end of a job could not be stored'),
      )
      .then(() => {
        this.#runs.delete(id)
        this.#wake()
      })
  }

  #report(job: Job): void {
    const { log, onEnd } = this.options
    const { id, by, owner, incarnation, task, state, error, outcome, started, finished } = job
    if (isUnfinished(state)) {
      log.info({ job: id, owner, task }, 'a job was put back into the queue')
      return
    }
    audit(log, by, {
      action: 'job.finish',
      tenant: owner,
      ...(incarnation !== '' && { incarnation }),
      object: id,
      after: { task, state, ...(outcome && pick(outcome)), ...(error && { code: error.code }) },
    })
    onEnd?.(state, started && finished ? (Date.parse(finished) - Date.parse(started)) / 1000 : undefined)
  }

  /** Whether nobody renews the lease of a running job. Its times are not compared with the clocks of other machines. */
  #isAbandoned({ id, lease }: Job): boolean {
    if (lease === undefined) return true
    if (lease.runner === this.id) return !this.#runs.has(id)
    // Only one server uses a store that is not shared.
    if (this.options.jobs.store.following === undefined) return true
    const renewal = `${lease.token} ${lease.renewed}`
    const known = this.#leases.get(id)
    const current = known?.renewal === renewal ? known : { renewal, seenAt: performance.now() }
    putLast(this.#leases, id, current)
    return performance.now() - current.seenAt > this.#pauses.lease
  }
}

/** Puts an entry at the end of a map. The map forgets its first entry if it becomes too large. */
function putLast<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.delete(key)
  map.set(key, value)
  const [first] = map.keys()
  if (map.size > mostRemembered && first !== undefined) map.delete(first)
}

const newToken = (): string => randomBytes(8).toString('hex')

/** Makes an empty directory. */
async function prepare(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 3 })
  await mkdir(directory, { recursive: true, mode: 0o700 })
}

const pick = ({ version, activated }: NonNullable<Job['outcome']>) => ({ version, activated })
