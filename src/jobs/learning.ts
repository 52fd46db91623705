// Learning, as the routes of jobs use it: the jobs in the store, and the runner of this process.

import type { Job, JobDetails } from './job.js'
import type { Jobs } from './jobs.js'
import type { Runner } from './runner.js'

/** A job as it is now. */
export interface CurrentJob {
  readonly job: Job
  /** Whether it runs in this process. Of others, the store has a state that is some seconds old. */
  readonly runsHere: boolean
  readonly details: () => JobDetails
}

export class Learning {
  constructor(
    readonly jobs: Jobs,
    readonly runner: Runner,
  ) {}

  /** @param stored the job in the store */
  current(stored: Job): CurrentJob {
    const run = this.runner.runOf(stored)
    return run
      ? { job: run.job, runsHere: true, details: () => run.details }
      : { job: stored, runsHere: false, details: () => this.jobs.details(stored) }
  }
}
