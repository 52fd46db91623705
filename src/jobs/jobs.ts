// The jobs in the store: every step of a job's life is one transaction. Steps of a running job compare the token of its
// lease, so that a replica that has lost a job changes nothing.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import type { Store, StoreReader, StoreWriter } from '../store/store.js'
import { readDataset } from '../tasks/datasets.js'
import { taskKey } from '../tasks/task-key.js'
import { addVersion, type NewVersion, readActive } from '../tasks/versions.js'
import { operator, ownerOf, readSameTenant, type TaskOwner } from '../tenants/tenant.js'
import { limitsOf } from '../tenants/usage.js'
import { type ActiveScore, activateIfWanted } from './activating.js'
import { type Disagreement, writeDisagreements } from './disagreements.js'
import {
  type Claim,
  incarnationOf,
  isUnfinished,
  type Job,
  type JobDetails,
  type JobError,
  type JobOptions,
  type JobState,
  jobOwner,
  jobsOf,
  newJobId,
  noDetails,
  parseJob,
  readAnyJob,
  readDetails,
  readJob,
  removeJob,
  unknownJob,
  writeDetails,
  writeJob,
} from './job.js'
import { unfinishedOf } from './queue.js'

/** Most jobs of an owner that wait or run. */
export const maxUnfinished = 100
/** Finished jobs of an owner that are kept. */
const keptFinished = 100
/** A job that was started this often without an end fails. */
export const maxAttempts = 3

/** Seconds after which one of many jobs may have finished. */
const retryAfterSeconds = 60

export interface JobFilter {
  readonly task?: string | undefined
  readonly state?: JobState | undefined
}

/** What changes while a job runs. */
export type JobProgress = Pick<Job, 'phase' | 'progress' | 'secondsLeft' | 'examples' | 'subsampledOf'>

/** What a job has made. */
export interface Learned {
  /** It has the digest of the head version if that is the result. */
  readonly version: NewVersion
  readonly higherIsBetter: boolean
  /** Undefined if no version was active, or it could not be scored. */
  readonly active: ActiveScore | undefined
  readonly details: JobDetails
  readonly wrong: readonly Disagreement[]
}

export class Jobs {
  constructor(
    readonly store: Store,
    /** Versions that a task keeps. */
    readonly keptVersions: number,
    /** The clock, in milliseconds of the epoch. */
    readonly now: () => number = Date.now,
  ) {}

  /**
   * Makes a job for a task.
   * @param by who makes it, as in the audit trail
   * @throws Problem `no_examples`, `job_exists`, `too_many_jobs`, `unknown_tenant`
   */
  async create(owner: TaskOwner, task: string, options: JobOptions, by: string): Promise<Job> {
    const name = ownerOf(owner)
    return this.store.change((records) => {
      // Only to check that the tenant is still there.
      limitsOf(records, owner)
      const dataset = readDataset(records, name, task)
      if (dataset === undefined || dataset.examples === 0) throw noExamples(task)
      const unfinished = unfinishedOf(records, name)
      if (unfinished.length >= maxUnfinished) throw tooMany(unfinished.length)
      for (const id of unfinished) {
        const other = readAnyJob(records, name, id)
        // One for examples that were deleted since will be cancelled.
        const isSame = other?.task === task && other.dataset === dataset.incarnation
        if (isSame && other.state === 'queued') throw jobExists(other)
      }
      const job: Job = {
        id: newJobId(this.now()),
        owner: name,
        incarnation: incarnationOf(owner),
        task,
        dataset: dataset.incarnation,
        state: 'queued',
        options,
        by,
        created: this.#time(),
        attempt: 0,
      }
      writeJob(records, job)
      trim(records, name)
      return job
    }, name)
  }

  /** @throws Problem `unknown_job` */
  get(owner: TaskOwner, id: string): Job {
    const job = this.find(owner, id)
    if (job === undefined) throw unknownJob(id)
    return job
  }

  find(owner: TaskOwner, id: string): Job | undefined {
    return readJob(this.store, owner, id)
  }

  details({ owner, id }: Job): JobDetails {
    return readDetails(this.store, owner, id)
  }

  /** Up to `limit` jobs of an owner that were made before the job `after`, newest first. */
  list(owner: TaskOwner, after: string, limit: number, { task, state }: JobFilter = {}): Job[] {
    const found: Job[] = []
    // An owner has a few hundred jobs at most.
    for (const [, bytes] of this.store.range('jobs', jobsOf(ownerOf(owner), after))) {
      const job = parseJob(bytes)
      if (job.incarnation !== incarnationOf(owner)) continue
      if ((task !== undefined && job.task !== task) || (state !== undefined && job.state !== state)) continue
      found.push(job)
      if (found.length === limit) break
    }
    return found
  }

  /**
   * Cancels a job that waits or runs. Its runner notices that and stops.
   * @returns the job before
   * @throws Problem `unknown_job`, `job_finished`
   */
  async cancel(owner: TaskOwner, id: string): Promise<Job> {
    return this.store.change((records) => {
      const job = readJob(records, owner, id)
      if (job === undefined) throw unknownJob(id)
      if (!isUnfinished(job.state))
        throw new Problem('job_finished', `job "${id}" has ended already: it is ${job.state}`, { state: job.state })
      this.#end(records, { ...job, state: 'cancelled' })
      return job
    }, ownerOf(owner))
  }

  /**
   * Starts a job. It fails instead if it was started too often, and is cancelled if its task is gone.
   * @param expected the job as it was found; undefined is returned if it is another one by now
   */
  async claim(expected: Job, runner: string, token: string): Promise<Job | undefined> {
    return this.store.change((records) => {
      const job = readAnyJob(records, expected.owner, expected.id)
      if (job === undefined || !isSame(job, expected) || !isUnfinished(job.state)) return undefined
      if (isOwnerGone(records, job)) {
        removeJob(records, job.owner, job.id)
        return undefined
      }
      const reason = reasonToCancel(records, job)
      if (reason !== undefined) return this.#end(records, { ...job, state: 'cancelled', error: reason })
      if (job.attempt >= maxAttempts)
        return this.#end(records, { ...job, state: 'failed', error: tooOften(job.attempt) })
      const { phase, progress, secondsLeft, error, ...fresh } = job
      const lease = { runner, token, renewed: 0 }
      const started: Job = { ...fresh, state: 'running', started: this.#time(), attempt: job.attempt + 1, lease }
      writeJob(records, started)
      writeDetails(records, started, noDetails)
      return started
    }, expected.owner)
  }

  /**
   * Renews a lease, and stores the progress.
   * @returns the job, like the other steps of a running job: it is cancelled if its task was deleted, and undefined if it is
   *   no longer this runner's
   */
  async renew(claim: Claim, progress: JobProgress, details: JobDetails): Promise<Job | undefined> {
    return this.#step(claim, (records, job) => {
      const { lease } = job
      const renewed: Job = { ...job, ...progress, ...(lease && { lease: { ...lease, renewed: lease.renewed + 1 } }) }
      writeJob(records, renewed)
      writeDetails(records, renewed, details)
      return renewed
    })
  }

  /** Puts a job back that a shutdown interrupts. The start does not count. */
  async release(claim: Claim): Promise<Job | undefined> {
    return this.#step(claim, (records, job) => {
      const queued = this.#queued(job, { attempt: job.attempt - 1 })
      writeJob(records, queued)
      return queued
    })
  }

  /** Puts a job back whose learner has crashed. The job fails if that has happened too often. */
  async retry(claim: Claim, error: JobError): Promise<Job | undefined> {
    return this.#step(claim, (records, job) => {
      if (job.attempt >= maxAttempts) return this.#end(records, { ...job, state: 'failed', error: repeated(error) })
      const queued = this.#queued(job, { error })
      writeJob(records, queued)
      return queued
    })
  }

  async fail(claim: Claim, error: JobError): Promise<Job | undefined> {
    return this.#step(claim, (records, job) => this.#end(records, { ...job, state: 'failed', error }))
  }

  /**
   * Stores the head as a version. It becomes active at once if the task has no version yet.
   * @throws Problem `quota_exceeded`, `unknown_tenant`
   */
  async addHead(claim: Claim, version: NewVersion): Promise<Job | undefined> {
    return this.#step(claim, (records, job) => {
      // An earlier start of this job has made one.
      if (job.head !== undefined) return job
      const isFirst = readActive(records, taskKey(job.owner, job.task)) === undefined
      const activate = isFirst && job.options.activate !== 'never'
      const number = addVersion(records, jobOwner(job), job.task, version, { activate, keep: this.keptVersions })
      const withHead: Job = {
        ...job,
        head: { version: number, digest: version.digest, score: version.score ?? 0 },
      }
      writeJob(records, withHead)
      return withHead
    })
  }

  /**
   * Stores the version that a job has made, and ends the job, in one transaction.
   * @throws Problem `quota_exceeded`, `unknown_tenant`
   */
  async succeed(claim: Claim, learned: Learned): Promise<Job | undefined> {
    return this.#step(claim, (records, job) => {
      const { version, higherIsBetter, active, details, wrong } = learned
      const { digest, metric = '', score = 0, interval } = version
      const options = { activate: false, keep: this.keptVersions }
      const number = addVersion(records, jobOwner(job), job.task, version, options)
      const { activated, reason } = activateIfWanted(records, job, { number, digest, score, higherIsBetter, active })
      writeDetails(records, job, details)
      writeDisagreements(records, job, digest, wrong)
      const outcome = { version: number, activated, reason, metric, score, ...(interval && { interval }) }
      return this.#end(records, { ...job, state: 'succeeded', progress: 1, outcome })
    })
  }

  /** A step of a running job. */
  async #step(
    { job: { owner, id }, token }: Claim,
    step: (records: StoreWriter, job: Job) => Job,
  ): Promise<Job | undefined> {
    return this.store.change((records) => {
      const job = readAnyJob(records, owner, id)
      if (job?.state !== 'running' || job.lease?.token !== token) return undefined
      if (isOwnerGone(records, job)) {
        removeJob(records, owner, id)
        return undefined
      }
      const reason = reasonToCancel(records, job)
      return reason === undefined
        ? step(records, job)
        : this.#end(records, { ...job, state: 'cancelled', error: reason })
    }, owner)
  }

  #end(records: StoreWriter, job: Job): Job {
    const { lease, secondsLeft, ...rest } = job
    const ended: Job = { ...rest, finished: this.#time() }
    writeJob(records, ended)
    trim(records, job.owner)
    return ended
  }

  #queued({ lease, started, phase, progress, secondsLeft, ...job }: Job, changes: Partial<Job>): Job {
    return { ...job, ...changes, state: 'queued' }
  }

  #time(): string {
    return new Date(this.now()).toISOString()
  }
}

/** Whether a job is at the same step as it was found at. */
const isSame = (job: Job, { state, lease }: Job): boolean =>
  job.state === state && job.lease?.token === lease?.token && job.lease?.renewed === lease?.renewed

/** Keeps only the newest finished jobs of an owner. */
function trim(records: StoreWriter, owner: Owner): void {
  const unfinished = new Set(unfinishedOf(records, owner))
  let finished = 0
  for (const [key] of [...records.range('jobs', jobsOf(owner))]) {
    const id = key.slice(owner.length + 1)
    if (!unfinished.has(id) && ++finished > keptFinished) removeJob(records, owner, id)
  }
}

const isOwnerGone = (records: StoreReader, job: Job): boolean => {
  const owner = jobOwner(job)
  return owner !== operator && readSameTenant(records, owner) === undefined
}

/** Why a job has become pointless. */
function reasonToCancel(records: StoreReader, { owner, task, dataset }: Job): JobError | undefined {
  return readDataset(records, owner, task)?.incarnation === dataset
    ? undefined
    : { code: 'unknown_task', message: 'the task was deleted, or all of its examples' }
}

const tooOften = (attempts: number): JobError => ({
  code: 'learner_crashed',
  message: `the job was started ${attempts} times, and the server ended each time before the job did; its log has the reason`,
})

const repeated = ({ code, message }: JobError): JobError => ({ code, message: `${message}, ${maxAttempts} times` })

const noExamples = (task: string): Problem =>
  new Problem('no_examples', `task "${task}" has no examples; POST /tasks/${task}/examples adds some`, { task })

const jobExists = ({ id, task }: Job): Problem =>
  new Problem(
    'job_exists',
    `job "${id}" for task "${task}" waits already and will learn from all examples that are stored when it starts; ` +
      `GET /jobs/${id} describes it`,
    { task, job: id },
  )

const tooMany = (unfinished: number): Problem =>
  new Problem(
    'too_many_jobs',
    `${unfinished} jobs wait or run, and at most ${maxUnfinished} may; wait until one has ended, or cancel one`,
    { limit: maxUnfinished, retry_after_s: retryAfterSeconds },
  )
