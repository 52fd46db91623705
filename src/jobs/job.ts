// A job trains a task from its stored examples. This file has its record in the store and the keys of its records.

import { randomBytes } from 'node:crypto'
import type { Metric } from '../learn/metrics.js'
import type { LossPoint } from '../learner/loss-curve.js'
import type { Owner } from '../owner.js'
import type { ProblemType } from '../petl/task.js'
import { Problem, quoted } from '../problem.js'
import type { RecordRange, StoreReader, StoreWriter } from '../store/store.js'
import { operator, ownerOf, type TaskOwner } from '../tenants/tenant.js'

export const jobStates = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const
export type JobState = (typeof jobStates)[number]

export const isUnfinished = (state: JobState): boolean => state === 'queued' || state === 'running'

/** When the version that a job makes becomes the active one. */
export const activations = ['if_better', 'always', 'never'] as const
export type Activation = (typeof activations)[number]

export interface JobOptions {
  readonly activate: Activation
  readonly problemType?: ProblemType
  readonly metric?: Metric
  readonly timeBudgetS?: number
  readonly maxExamples?: number
  readonly seed?: number
}

/** Which replica runs a job. Others may take it over once the lease is no longer renewed. */
export interface Lease {
  /** Of the runner, random for each process. */
  readonly runner: string
  /** Random for each start of a job. Every change of a running job compares it. */
  readonly token: string
  /** Number of renewals. */
  readonly renewed: number
}

export interface JobError {
  readonly code: string
  readonly message: string
}

export interface HeadVersion {
  readonly version: number
  readonly digest: string
  readonly score: number
}

/** The result of a job that has made a version. */
export interface Outcome {
  readonly version: number
  readonly activated: boolean
  /** Why the version was activated, or why not. */
  readonly reason: string
  readonly metric: string
  readonly score: number
  readonly interval?: readonly [number, number]
}

export interface Job {
  readonly id: string
  readonly owner: Owner
  /** Of the tenant; empty for the operator. */
  readonly incarnation: string
  readonly task: string
  /** Incarnation of the dataset that the job was made for. */
  readonly dataset: string
  readonly state: JobState
  readonly options: JobOptions
  /** Who made it. */
  readonly by: string
  /** Times in ISO 8601. */
  readonly created: string
  /** Start of the current attempt, or of the last one. */
  readonly started?: string
  readonly finished?: string
  /** Number of starts. Those that a shutdown interrupted do not count. */
  readonly attempt: number
  readonly lease?: Lease
  readonly phase?: string
  /** Share of the work that is done. */
  readonly progress?: number
  readonly secondsLeft?: number
  /** Examples that it learns from. */
  readonly examples?: number
  /** Number of examples of the task, if it learns only from a part of them. */
  readonly subsampledOf?: number
  /** The version with a new head alone, which is made first. */
  readonly head?: HeadVersion
  readonly outcome?: Outcome
  readonly error?: JobError
}

export interface EpochScore {
  readonly epoch: number
  readonly heldOutLoss: number
}

/** What is stored apart from the job, because lists do not need it. */
export interface JobDetails {
  readonly scores: readonly { readonly metric: string; readonly value: number; low?: number; high?: number }[]
  readonly curve: readonly LossPoint[]
  readonly epochs: readonly EpochScore[]
  readonly warnings: readonly string[]
}

export const noDetails: JobDetails = { scores: [], curve: [], epochs: [], warnings: [] }

/** A running job as its runner holds it. */
export interface Claim {
  readonly job: Job
  readonly token: string
}

export const jobIdPattern = '^[0-9a-v]{26}$'
const jobId = new RegExp(jobIdPattern)
const latest = 2 ** 48 - 1

/** An id that sorts before those of earlier jobs. */
export const newJobId = (now: number): string =>
  base32((BigInt(latest - now) << 80n) | BigInt(`0x${randomBytes(10).toString('hex')}`))

/** 128 bits in 26 digits. */
const base32 = (value: bigint): string => value.toString(32).padStart(26, '0')

export const jobKey = (owner: Owner, id: string): string => `${owner}/${id}`
/** The other records of an owner sort after its jobs, because "~" sorts after every character of an id. */
const detailsKey = (owner: Owner, id: string): string => `${owner}/~details/${id}`

/** The jobs of an owner that were made before the job `after`, newest first. */
export const jobsOf = (owner: Owner, after = ''): RecordRange => ({
  after: jobKey(owner, after),
  before: jobKey(owner, '~'),
})
/** The owner of a job. The tenant may be gone. */
export const jobOwner = ({ owner, incarnation }: Pick<Job, 'owner' | 'incarnation'>): TaskOwner =>
  owner === operator ? operator : { id: owner, incarnation }

export const incarnationOf = (by: TaskOwner): string => (by === operator ? '' : by.incarnation)

/** A job that its owner, and not a later tenant with the same id, has made. */
export function readJob(records: StoreReader, by: TaskOwner, id: string): Job | undefined {
  const job = readAnyJob(records, ownerOf(by), id)
  return job?.incarnation === incarnationOf(by) ? job : undefined
}

export function readAnyJob(records: StoreReader, owner: Owner, id: string): Job | undefined {
  const bytes = jobId.test(id) ? records.get('jobs', jobKey(owner, id)) : undefined
  return bytes && parseJob(bytes)
}

export const parseJob = (bytes: Buffer): Job => JSON.parse(bytes.toString()) as Job

/** Writes a job, and whether it waits or runs. */
export function writeJob(records: StoreWriter, job: Job): void {
  const key = jobKey(job.owner, job.id)
  records.put('jobs', key, Buffer.from(JSON.stringify(job)))
  if (isUnfinished(job.state)) records.put('unfinished', key, Buffer.of())
  else records.remove('unfinished', key)
}

export function removeJob(records: StoreWriter, owner: Owner, id: string): void {
  const key = jobKey(owner, id)
  records.remove('jobs', key)
  records.remove('unfinished', key)
  records.remove('jobs', detailsKey(owner, id))
}

export function readDetails(records: StoreReader, owner: Owner, id: string): JobDetails {
  const bytes = records.get('jobs', detailsKey(owner, id))
  return bytes ? { ...noDetails, ...(JSON.parse(bytes.toString()) as Partial<JobDetails>) } : noDetails
}

export const writeDetails = (records: StoreWriter, { owner, id }: Job, details: JobDetails): void =>
  records.put('jobs', detailsKey(owner, id), Buffer.from(JSON.stringify(details)))

export const unknownJob = (id: string): Problem =>
  new Problem('unknown_job', `there is no job ${quoted(id)}; GET /jobs lists the jobs`)
