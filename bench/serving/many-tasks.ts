// Very many registered tasks against ten: throughput when every request may be of any of them, and memory of idle ones.

import { join } from 'node:path'
import { type Benchmark, type Figure, inTurns, median, summary } from '../support/figures.js'
import { mixedTexts, randomBytes, withDirectory } from '../support/material.js'
import { LoadProcess, residentBytes, startServerProcess } from '../support/process.js'
import { registerTasks, taskId } from '../support/registered-tasks.js'
import { predictRequests } from '../support/requests.js'

const few = 10
const rounds = 24
const requestsPerRound = 400

/** How requests are spread over tasks: the index of a task, for a number drawn evenly from [0, 1). */
type Spread = (uniform: number, tasks: number) => number

const evenly: Spread = (uniform, tasks) => Math.floor(uniform * tasks)

/**
 * Zipf's law with exponent 1: the task of rank k is asked for in proportion to ln(1 + 1/k), which is 1/k but for the
 * first few. Ranks are scattered over the ids, so that tasks in demand do not lie side by side.
 */
const zipf: Spread = (uniform, tasks) => {
  const rank = Math.floor((tasks + 1) ** uniform)
  return (rank * 7_919) % tasks
}

/** 100,000 tasks, each as likely as any other; and what an idle one takes. */
export const manyTasks: Benchmark = (say) =>
  against({ many: 100_000, spread: evenly, how: 'requests spread evenly over all of them', atLeast: 0.97 }, say)

/** A million tasks, a few of them in great demand. Takes 9 GB of the temporary directory and minutes to register. */
export const millionTasks: Benchmark = (say) =>
  against({ many: 1_000_000, spread: zipf, how: "requests by Zipf's law", atLeast: 0.9 }, say)

interface Comparison {
  readonly many: number
  readonly spread: Spread
  readonly how: string
  readonly atLeast: number
}

const against = ({ many, spread, how, atLeast }: Comparison, say: (progress: string) => void): Promise<Figure[]> =>
  withDirectory(async (directory) => {
    const counts = { many, few }
    const directories = { many: join(directory, 'many'), few: join(directory, 'few') }
    await registerTasks(directories.few, few, ['sst2'], say)
    await registerTasks(directories.many, many, ['sst2'], say)
    const servers = {
      many: await startServerProcess(directories.many),
      few: await startServerProcess(directories.few),
    }
    const idle = {
      many: residentBytes(servers.many.process.pid),
      few: residentBytes(servers.few.process.pid),
    }
    const load = new LoadProcess()
    const random = randomBytes(7)
    const uniform = () => (random() * 65_536 + random() * 256 + random()) / 256 ** 3
    const throughput = async (side: 'many' | 'few') => {
      const { perSecond } = await load.run({
        url: servers[side].url,
        clients: 64,
        requests: predictRequests(
          mixedTexts()
            .slice(0, requestsPerRound)
            .map(({ text }) => ({ task: taskId(spread(uniform(), counts[side])), text })),
        ),
        amount: requestsPerRound,
      })
      return perSecond
    }
    await throughput('many')
    await throughput('few')
    const turns = await inTurns(
      rounds,
      () => throughput('many'),
      () => throughput('few'),
      (round) => say(`many tasks: ${round} of ${rounds} rounds`),
    )
    load.stop()
    await servers.many.stop()
    await servers.few.stop()
    const perTask = (kind: 'all' | 'anonymous') => (idle.many[kind] - idle.few[kind]) / (many - few)
    const name = many.toLocaleString('en')
    return [
      {
        what: `${name} registered tasks against ${few}, ${how}, throughput`,
        unit: '×',
        ...summary(turns.ratios),
        target: { atLeast },
        notes: {
          [`texts/s of ${name}`]: median(turns.a),
          [`texts/s of ${few}`]: median(turns.b),
          'start to ready of all, ms': servers.many.startMs,
        },
      },
      {
        what: `memory of a registered, idle task (resident memory at ready, ${name} tasks less ${few})`,
        unit: 'bytes',
        ...summary([perTask('all')]),
        target: { atMost: 1024 },
        notes: { 'without file-backed pages': perTask('anonymous') },
      },
    ]
  })
