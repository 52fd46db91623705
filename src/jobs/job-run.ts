// One start of a job: it writes the examples to files, follows the learner, stores the versions, and renews the lease in the
// meantime. Whatever happens, the job is then ended or queued again, unless another runner has it.

import { mkdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { ExampleStore } from '../examples/example-store.js'
import type { LearnerDone, LearnerEvent, LearnerRequest, LearnerResult } from '../learner/messages.js'
import type { Owner } from '../owner.js'
import { Problem, reasonOf } from '../problem.js'
import { readDataset } from '../tasks/datasets.js'
import type { NewVersion } from '../tasks/versions.js'
import { Curve } from './curve.js'
import { type Claim, type Job, type JobDetails, type JobError, noDetails } from './job.js'
import type { JobProgress, Jobs } from './jobs.js'
import { type LearningData, writeLearningData } from './learning-data.js'

/** Trains a task in another process. */
export type Learner = (
  request: LearnerRequest,
  onEvent: (event: LearnerEvent) => void,
  signal: AbortSignal,
) => Promise<LearnerResult>

export interface JobLog {
  info(details: object, message: string): void
  warn(details: object, message: string): void
  error(details: object, message: string): void
}

/** What starts of jobs need. */
export interface RunParts {
  readonly jobs: Jobs
  readonly examples: ExampleStore
  readonly learner: Learner
  /** Of the model that tasks are for. */
  readonly model: Pick<LearnerRequest, 'directory' | 'prototypeFile' | 'masksDir'>
  /** Checks the file of a version. @throws Problem if it is not a task of the model */
  readonly check: (owner: Owner, file: Uint8Array) => Promise<{ readonly digest: string }>
  readonly limits: RunLimits
  /** For the files of jobs. Only this process uses it. */
  readonly directory: string
  readonly log: JobLog
}

export interface RunLimits {
  readonly threads: number
  readonly memoryBytes: number
  /** The default, and the most that a job may ask for. */
  readonly timeBudgetS: number
  readonly examples: number
}

export interface RunPauses {
  /** Between two renewals of a lease, in milliseconds. */
  readonly renew: number
  /** After a change that could not be stored. It doubles with each further failure. */
  readonly retry: number
}

/** Longest pause between two attempts to store a change, in milliseconds. */
const longestRetry = 30_000
/** A learner may take this many times its time budget, and these seconds for reading and writing. */
const overtime = { factor: 2, seconds: 300 } as const

/** Why a run ends early. `lost`: the job was cancelled, or another runner has it. `failed`: the head cannot be stored. */
type Interruption = 'shutdown' | 'lost' | 'overtime' | 'failed'

export class JobRun {
  /** Resolves with the job after this run; undefined if the job was cancelled by its owner, or another runner has it. */
  readonly ended: Promise<Job | undefined>
  #job: Job
  /** The job as a step other than the last one ended it: its task was deleted. */
  #endedEarly: Job | undefined
  #data: LearningData | undefined
  #progress: JobProgress = {}
  #details: JobDetails = noDetails
  readonly #curve = new Curve()
  readonly #abort = new AbortController()
  #interruption: Interruption | undefined
  /** The storing of the head. */
  #head: Promise<void> = Promise.resolve()
  #headError: unknown

  constructor(
    readonly claim: Claim,
    readonly parts: RunParts,
    readonly pauses: RunPauses,
  ) {
    this.#job = claim.job
    this.ended = this.#run()
  }

  /** The job as it is now; the store has a state that is some seconds old. */
  get job(): Job {
    return { ...this.#job, ...this.#progress }
  }

  get details(): JobDetails {
    return { ...this.#details, ...this.#curve.points }
  }

  /** Ends the run soon: at a shutdown, the job is queued again. */
  interrupt(reason: Interruption): void {
    this.#interruption ??= reason
    this.#abort.abort()
  }

  async #run(): Promise<Job | undefined> {
    const { job, token } = this.claim
    const folder = join(this.parts.directory, `${job.id}-${token}`)
    const renewing = this.#renewRepeatedly()
    try {
      return await this.#finish(await this.#learn(folder))
    } catch (error) {
      return await this.#finishAfter(error)
    } finally {
      this.#abort.abort()
      await renewing
      await rm(folder, { recursive: true, force: true, maxRetries: 3 }).catch(() => {})
    }
  }

  /** @throws errors of the file system and of the export */
  async #learn(folder: string): Promise<LearnerResult> {
    const { examples, learner, limits, model } = this.parts
    const { signal } = this.#abort
    const { owner, task, dataset, options } = this.#job
    this.#progress = { phase: 'reading', progress: 0 }
    const out = join(folder, 'out')
    await mkdir(out, { recursive: true })
    const most = Math.min(options.maxExamples ?? limits.examples, limits.examples)
    const stored = readDataset(examples.store, owner, task)
    const data = await writeLearningData(examples, this.#job, folder, most, signal)
    this.#data = data
    const total = stored?.incarnation === dataset ? stored.examples : data.ids.length
    const isPart = data.ids.length < total
    this.#progress = { ...this.#progress, examples: data.ids.length, ...(isPart && { subsampledOf: total }) }
    const budget = Math.min(options.timeBudgetS ?? limits.timeBudgetS, limits.timeBudgetS)
    const overtimeMs = 1000 * (overtime.factor * budget + overtime.seconds)
    const timer = setTimeout(() => this.interrupt('overtime'), overtimeMs)
    try {
      return await learner(
        {
          ...model,
          data: data.data,
          ...(data.active && { active: data.active.file, newLines: data.active.newLines }),
          out,
          options: {
            problemType: options.problemType,
            metric: options.metric,
            timeBudgetS: budget,
            seed: options.seed ?? 1,
          },
          threads: limits.threads,
          memoryBytes: limits.memoryBytes,
        },
        (event) => this.#onEvent(event),
        signal,
      )
    } finally {
      clearTimeout(timer)
    }
  }

  #onEvent(event: LearnerEvent): void {
    switch (event.kind) {
      case 'phase':
        this.#progress = { ...this.#progress, phase: event.phase }
        return
      case 'progress': {
        const { phase, done, secondsLeft } = event
        const { examples, subsampledOf } = this.#progress
        this.#progress = {
          phase,
          progress: done,
          ...(secondsLeft !== undefined && { secondsLeft }),
          ...(examples !== undefined && { examples }),
          ...(subsampledOf !== undefined && { subsampledOf }),
        }
        this.#curve.add(event)
        return
      }
      case 'data':
        this.#details = { ...this.#details, warnings: event.warnings }
        return
      case 'head':
        this.#head = this.#storeHead(event.file, event).catch((error: unknown) => {
          this.#headError = error
          this.interrupt('failed')
        })
    }
  }

  /** @throws Problem `quota_exceeded` and others that a later attempt would have, too */
  async #storeHead(path: string, scores: Pick<LearnerDone, 'metric' | 'score' | 'interval'>): Promise<void> {
    const version = await this.#versionOf(path, 'head', scores)
    this.#follow(await this.#insist(() => this.parts.jobs.addHead(this.claim, version)))
  }

  /** @param job after a step that is not the last one */
  #follow(job: Job | undefined): void {
    if (job?.state === 'running') this.#job = job
    else {
      this.#endedEarly = job
      this.interrupt('lost')
    }
  }

  async #versionOf(
    path: string,
    stage: 'head' | 'final',
    { metric, score, interval }: Pick<LearnerDone, 'metric' | 'score' | 'interval'>,
  ): Promise<NewVersion> {
    const { owner, by, id } = this.#job
    const file = await readFile(path)
    const { digest } = await this.parts.check(owner, file)
    return {
      file,
      digest,
      by,
      source: { kind: 'job', job: id, stage },
      metric,
      score,
      ...(interval && { interval }),
      examples: this.#data?.ids.length ?? 0,
    }
  }

  /** Stores the end of the run. */
  async #finish(result: LearnerResult): Promise<Job | undefined> {
    await this.#head
    if (this.#headError !== undefined) throw this.#headError
    const { jobs, log, limits } = this.parts
    const { claim } = this
    switch (result.kind) {
      case 'done':
        return this.#succeed(result)
      case 'failed': {
        const { code, message } = result
        return this.#fail({ code, message })
      }
      case 'crashed':
        log.warn({ job: claim.job.id, reason: result.message, output: result.log }, 'the learner of a job crashed')
        return this.#insist(() => jobs.retry(claim, { code: 'learner_crashed', message: result.message }))
      case 'out_of_memory':
        log.warn(
          { job: claim.job.id, limit: limits.memoryBytes, reason: result.message },
          'the learner of a job ran out of memory',
        )
        return this.#fail({ code: 'learner_out_of_memory', message: result.message })
      case 'cancelled':
        return this.#finishInterrupted()
    }
  }

  async #finishInterrupted(): Promise<Job | undefined> {
    switch (this.#interruption) {
      case 'shutdown':
        // Nothing is left to wait for if it fails: another start takes the job over.
        return this.parts.jobs.release(this.claim)
      case 'overtime':
        return this.#fail({
          code: 'learner_overtime',
          message: 'training took far longer than its time budget and was stopped; train on fewer examples',
        })
      default:
        return this.#endedEarly
    }
  }

  /** @param error of this process, not of the learner */
  async #finishAfter(error: unknown): Promise<Job | undefined> {
    if (this.#interruption === 'shutdown' || this.#interruption === 'lost') {
      return this.#finishInterrupted().catch(() => undefined)
    }
    const failure = failureOf(error)
    if (!(error instanceof Problem))
      this.parts.log.error({ job: this.claim.job.id, reason: reasonOf(error) }, 'a job failed')
    return this.#fail(failure).catch(() => undefined)
  }

  async #succeed(done: LearnerDone): Promise<Job | undefined> {
    const { jobs } = this.parts
    const { problem_type: problemType } = done.report
    const base = await this.#versionOf(done.file, 'final', done)
    const version: NewVersion = { ...base, problemType, report: done.report }
    const { active } = this.#data ?? {}
    const ids = this.#data?.ids ?? []
    const { curve, epochs, warnings } = done.report
    const learned = {
      version,
      higherIsBetter: done.higherIsBetter,
      active: active &&
        done.activeScore && {
          digest: active.digest,
          score: done.activeScore.score,
          newScore: done.activeScore.newScore,
        },
      details: {
        scores: done.scores,
        curve,
        epochs: epochs.map(({ epoch, held_out_loss }) => ({ epoch, heldOutLoss: held_out_loss })),
        warnings,
      },
      wrong: done.wrong.flatMap(({ line, predicted, score }) => {
        const id = ids[line - 1]
        return id === undefined ? [] : [{ id, label: predicted, score }]
      }),
    }
    return this.#insist(() => jobs.succeed(this.claim, learned))
  }

  #fail(error: JobError): Promise<Job | undefined> {
    return this.#insist(() => this.parts.jobs.fail(this.claim, error))
  }

  /** Repeats a change until it is stored. Repeating is safe, because the change compares the token of the lease. */
  async #insist(change: () => Promise<Job | undefined>): Promise<Job | undefined> {
    for (let pause = this.pauses.retry; ; pause = Math.min(2 * pause, longestRetry)) {
      try {
        return await change()
      } catch (error) {
        if (!isTemporary(error)) throw error
        if (this.#interruption !== undefined) return undefined
        this.parts.log.warn(
          { job: this.claim.job.id, reason: reasonOf(error) },
          'the state of a job could not be stored',
        )
        await this.#pause(pause)
      }
    }
  }

  /** Stores the progress now and then, and notices if the job is no longer this run's. */
  async #renewRepeatedly(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      await this.#pause(this.pauses.renew)
      if (this.#abort.signal.aborted) return
      try {
        this.#follow(await this.parts.jobs.renew(this.claim, this.#progress, this.details))
      } catch (error) {
        // The lease lasts for several renewals.
        this.parts.log.warn({ job: this.claim.job.id, reason: reasonOf(error) }, 'the lease of a job was not renewed')
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#abort.signal, ref: false }).catch(() => {})
  }
}

const temporary: readonly string[] = ['storage_failed', 'storage_unavailable', 'outcome_unknown', 'overloaded']
const isTemporary = (error: unknown): boolean => error instanceof Problem && temporary.includes(error.code)

/** Without a local path: the owner of the job reads it. */
function failureOf(error: unknown): JobError {
  if (error instanceof Problem) return { code: error.code, message: error.message }
  const { code } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'EFBIG')
    return {
      code: 'storage_failed',
      message: 'the disk of the server is full, so that the examples could not be prepared',
    }
  return { code: 'internal', message: 'the server failed; its log has the reason' }
}
