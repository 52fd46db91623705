// Which job starts next. Owners take turns: the one whose last start is longest ago is first, and its oldest job starts. A
// task learns one job at a time.

import type { Owner } from '../owner.js'
import type { Steps } from '../steps.js'
import { recordsIn, type StoreReader } from '../store/store.js'
import { type Job, readAnyJob } from './job.js'

/** What a runner knows of owners and of other runners. */
export interface QueueView {
  /** When a job of the owner was last started; 0 if that is not known. */
  lastStart(owner: Owner): number
  /** Whether nobody runs this running job any more. */
  isAbandoned(job: Job): boolean
}

/** Owners that are found between two pauses. */
const ownersAtOnce = 20

/** Ids of the jobs of an owner that wait or run, newest first. */
export const unfinishedOf = (records: StoreReader, owner: Owner): string[] =>
  Array.from(records.range('unfinished', recordsIn(owner)), ([key]) => key.slice(owner.length + 1))

/** The job that a runner may start next. */
export function* nextJob(records: StoreReader, view: QueueView): Steps<Job | undefined> {
  const owners = yield* ownersWithJobs(records)
  const inTurn = owners
    .map((owner) => ({ owner, lastStart: view.lastStart(owner) }))
    .toSorted((a, b) => a.lastStart - b.lastStart)
  for (const { owner } of inTurn) {
    const job = nextOf(records, owner, view)
    if (job !== undefined) return job
    yield
  }
  return undefined
}

function* ownersWithJobs(records: StoreReader): Steps<Owner[]> {
  const owners: Owner[] = []
  for (let after = ''; ; ) {
    const [first] = records.range('unfinished', { after, limit: 1 })
    if (first === undefined) return owners
    const owner = first[0].slice(0, first[0].indexOf('/'))
    owners.push(owner)
    if (owners.length % ownersAtOnce === 0) yield
    after = recordsIn(owner).before ?? ''
  }
}

/** The oldest job of an owner that can start. */
function nextOf(records: StoreReader, owner: Owner, view: QueueView): Job | undefined {
  const jobs = unfinishedOf(records, owner)
    .toReversed()
    .flatMap((id) => readAnyJob(records, owner, id) ?? [])
  const learning = new Set<string>()
  for (const job of jobs) if (job.state === 'running' && !view.isAbandoned(job)) learning.add(job.task)
  return jobs.find((job) => !learning.has(job.task))
}
