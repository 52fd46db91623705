// Jobs with a real store and real child processes, which train nothing.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { SlicedWork } from '../../src/costs/sliced-work.js'
import { ExampleStore } from '../../src/examples/example-store.js'
import { digestOf } from '../../src/formats/digest.js'
import type { Job, JobOptions } from '../../src/jobs/job.js'
import type { Learner } from '../../src/jobs/job-run.js'
import { Jobs } from '../../src/jobs/jobs.js'
import { Runner, type RunnerOptions } from '../../src/jobs/runner.js'
import { startLearner } from '../../src/learner/learner.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import type { Store } from '../../src/store/store.js'
import { TaskStore } from '../../src/tasks/store.js'
import { operator, type TaskOwner } from '../../src/tenants/tenant.js'
import { Tenants } from '../../src/tenants/tenants.js'
import { temporaryDirectory } from '../material.js'

const program = {
  path: fileURLToPath(new URL('./tiny-learner.js', import.meta.url)),
  priority: 0,
  startMs: 60_000,
  silenceMs: 60_000,
}
export const tinyLearner: Learner = (request, onEvent, signal) => startLearner(request, onEvent, signal, program)

export const pauses = { look: 50, lease: 1_000, renew: 100, retry: 50 }

export interface Learning {
  readonly store: Store
  readonly directory: string
  readonly jobs: Jobs
  readonly tasks: TaskStore
  readonly examples: ExampleStore
  readonly tenants: Tenants
  readonly runner: Runner
  /** Parsed lines of the log. */
  readonly log: Record<string, unknown>[]
  /** Makes a job that ends as a seed says. */
  learn(task: string, options?: Partial<JobOptions>, owner?: TaskOwner): Promise<Job>
  /** Waits until no job runs here and its files are removed. */
  idle(): Promise<void>
  /** Waits until a job is in a state. */
  reaches(job: Job, state: Job['state']): Promise<Job>
  /** Stores examples of a task. */
  post(task: string, count?: number, owner?: TaskOwner): Promise<void>
}

const opened: (() => Promise<unknown>)[] = []
after(async () => {
  for (const close of opened.toReversed()) await close()
})

/** Jobs in a store of their own, or in a given one. The runner is started. */
export async function openLearning(
  options: Partial<RunnerOptions> = {},
  { store, directory }: { store?: Store; directory?: string } = {},
): Promise<Learning> {
  const data = directory ?? (await temporaryDirectory())
  const used = store ?? LmdbStore.open(data)
  if (store === undefined) opened.push(() => used.close())
  const log: Record<string, unknown>[] = []
  const logger = pino({ level: 'info' }, { write: (line: string) => void log.push(JSON.parse(line)) })
  const jobs = new Jobs(used, 10)
  const tasks = await TaskStore.open(used)
  const examples = new ExampleStore(used)
  const runner = new Runner({
    jobs,
    examples,
    learner: tinyLearner,
    model: { directory: data, masksDir: data },
    check: async (_owner, file) => ({ digest: digestOf(file) }),
    atOnce: 1,
    limits: { threads: 1, memoryBytes: 2 ** 31, timeBudgetS: 100, examples: 1_000 },
    directory: join(data, 'learning'),
    work: new SlicedWork(),
    log: logger,
    pauses,
    ...options,
  })
  runner.start()
  opened.push(() => runner.stop())
  return {
    store: used,
    directory: data,
    jobs,
    tasks,
    examples,
    tenants: new Tenants(used),
    runner,
    log,
    async learn(task, given = {}, owner = operator) {
      const job = await jobs.create(owner, task, { activate: 'if_better', ...given }, 'someone')
      runner.wake()
      return job
    },
    async idle() {
      while (runner.running > 0) await delay(10)
    },
    reaches: (job, state) => reaches(jobs, job, state),
    async post(task, count = 4, owner = operator) {
      const labelled = Array.from({ length: count }, (_, i) => ({
        text: `text ${i}`,
        label: i % 2 === 0 ? 'negative' : 'positive',
        source: 'upload' as const,
      }))
      await examples.put(owner, task, labelled)
    },
  }
}

export async function reaches(jobs: Jobs, { owner, incarnation, id }: Job, state: Job['state']): Promise<Job> {
  const by: TaskOwner = owner === operator ? operator : { id: owner, incarnation }
  for (let tries = 0; tries < 3_000; tries++) {
    const job = jobs.find(by, id)
    if (job?.state === state) return job
    if (job?.finished !== undefined) throw new Error(`the job is ${job.state}: ${JSON.stringify(job.error)}`)
    await delay(10)
  }
  throw new Error(`the job is still ${jobs.find(by, id)?.state}, not ${state}`)
}

/**
 * The learner that runs, once it has started: its process, and its folder.
 * @param job of which it must be; that of an earlier job may still be ending
 */
export async function findLearner(directory: string, job = ''): Promise<{ pid: number; folder: string }> {
  for (;;) {
    const names = readable(() => readdirSync(join(directory, 'learning'))) ?? []
    for (const name of names.filter((each) => each.startsWith(job))) {
      const folder = join(directory, 'learning', name)
      const pid = readable(() => readFileSync(join(folder, 'pid'), 'utf8'))
      if (pid && isAlive(Number(pid))) return { pid: Number(pid), folder }
    }
    await delay(10)
  }
}

export const learnerPid = async (directory: string): Promise<number> => (await findLearner(directory)).pid

function readable<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
