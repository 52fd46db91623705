// Whether the version that a job has made becomes the active one of its task.

import type { StoreWriter } from '../store/store.js'
import { taskKey } from '../tasks/task-key.js'
import { activate, readActive } from '../tasks/versions.js'
import { type Job, jobOwner } from './job.js'

/** How the version that was active when the job started compares with the new one, on the same examples. */
export interface ActiveScore {
  readonly digest: string
  readonly score: number
  readonly newScore: number
}

export interface Candidate {
  readonly number: number
  readonly digest: string
  readonly score: number
  readonly higherIsBetter: boolean
  /** Undefined if there was no active version, or it could not be scored. */
  readonly active: ActiveScore | undefined
}

/** Activates a new version if the options of its job say so. @returns whether it is active, and why */
export function activateIfWanted(
  records: StoreWriter,
  job: Job,
  candidate: Candidate,
): { readonly activated: boolean; readonly reason: string } {
  const current = readActive(records, taskKey(job.owner, job.task))?.digest
  const [activated, reason] = decide(job, candidate, current)
  if (activated && current !== candidate.digest) activate(records, jobOwner(job), job.task, candidate.number)
  return { activated, reason }
}

/** @param current digest of the active version */
function decide(job: Job, candidate: Candidate, current: string | undefined): [activated: boolean, reason: string] {
  const { head, options } = job
  if (options.activate === 'never') return [current === candidate.digest, 'the job was not to activate its version']
  if (options.activate === 'always') return [true, 'the job was to activate its version in any case']
  if (current === undefined) return [true, 'the task had no active version']
  if (current === candidate.digest) return [true, 'the version was active already']
  if (head?.digest === current) return compare(candidate, head.score, candidate.score, 'the head alone')
  const { active } = candidate
  if (active?.digest === current) return compare(candidate, active.score, active.newScore, 'the active version')
  return [
    false,
    active === undefined
      ? 'the active version could not be scored on these examples'
      : 'another version was activated while the job ran',
  ]
}

/** Equal scores are enough, because the new version has learned from the newest examples. */
function compare(
  { higherIsBetter }: Candidate,
  before: number,
  after: number,
  what: string,
): [activated: boolean, reason: string] {
  const isBetter = higherIsBetter ? after >= before : after <= before
  const scores = `${after.toFixed(4)} against ${before.toFixed(4)} of ${what}`
  return [isBetter, isBetter ? `it scores ${scores}` : `it scores only ${scores}`]
}
