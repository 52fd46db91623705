// Very many registered tasks against ten: throughput when requests are spread over all tasks, and memory of idle tasks.

import { join } from 'node:path'
import { alternate, type Benchmark, type Figure, type Log, median, once, summary } from '../support/figures.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import { byteSequence, mixedTexts, withTemporaryDirectory } from '../support/material.js'
import { processMemory, startServerProcess } from '../support/process.js'
import { registerTasks, taskId } from '../support/registered-tasks.js'
import { predictRequests } from '../support/requests.js'

const few = 10
const clients = 64
const rounds = 24
const requestsPerRound = 400

/** How requests are distributed over tasks: maps a uniform number in [0, 1) to the index of a task. */
type Distribution = (uniform: number, tasks: number) => number

const uniformly: Distribution = (uniform, tasks) => Math.floor(uniform * tasks)

/**
 * Zipf's law with exponent 1. The task of rank k has a share proportional to ln(1 + 1/k), which is close to 1/k except
 * for the first ranks. Ranks are scattered over the ids, so that popular tasks are not neighbours.
 */
const zipf: Distribution = (uniform, tasks) => {
  const rank = Math.floor((tasks + 1) ** uniform)
  return (rank * 7_919) % tasks
}

/** 100,000 tasks with equal shares of the requests, and the memory of an idle task. */
export const manyTasks: Benchmark = (log) =>
  compareWithFew({ many: 100_000, distribution: uniformly, name: 'uniform requests', atLeast: 0.97 }, log)

/** A million tasks by Zipf's law. Needs 9 GB in the temporary directory and minutes to register the tasks. */
export const millionTasks: Benchmark = (log) =>
  compareWithFew({ many: 1_000_000, distribution: zipf, name: "requests by Zipf's law", atLeast: 0.9 }, log)

interface Comparison {
  readonly many: number
  readonly distribution: Distribution
  readonly name: string
  readonly atLeast: number
}

const compareWithFew = ({ many, distribution, name, atLeast }: Comparison, log: Log): Promise<Figure[]> =>
  withTemporaryDirectory(async (directory) => {
    const counts = { many, few }
    const directories = { many: join(directory, 'many'), few: join(directory, 'few') }
    await registerTasks(directories.few, few, ['sst2'], log)
    await registerTasks(directories.many, many, ['sst2'], log)
    const servers = {
      many: await startServerProcess(directories.many),
      few: await startServerProcess(directories.few),
    }
    const idle = {
      many: processMemory(servers.many.process.pid),
      few: processMemory(servers.few.process.pid),
    }
    const load = new ClosedLoopProcess()
    const random = byteSequence(7)
    const uniform = () => (random() * 65_536 + random() * 256 + random()) / 256 ** 3
    const throughput = async (side: 'many' | 'few') => {
      const { perSecond } = await load.run({
        url: servers[side].url,
        clients,
        requests: predictRequests(
          mixedTexts()
            .slice(0, requestsPerRound)
            .map(({ text }) => ({ task: taskId(distribution(uniform(), counts[side])), text })),
        ),
        count: requestsPerRound,
      })
      return perSecond
    }
    await throughput('many')
    await throughput('few')
    const { a, b, ratios } = await alternate(
      rounds,
      () => throughput('many'),
      () => throughput('few'),
      (round) => log(`${many} tasks: round ${round} of ${rounds}`),
    )
    load.stop()
    await servers.many.stop()
    await servers.few.stop()
    const perTask = (kind: 'all' | 'anonymous') => (idle.many[kind] - idle.few[kind]) / (many - few)
    const total = many.toLocaleString('en')
    return [
      {
        name: `HTTP throughput, ${clients} clients, ${total} registered tasks against ${few}, ${name}`,
        unit: '×',
        ...summary(ratios),
        target: { atLeast },
        notes: {
          [`${total} tasks, texts/s`]: median(a),
          [`${few} tasks, texts/s`]: median(b),
          [`start-up with ${total} tasks, ms`]: servers.many.startMs,
        },
      },
      {
        name: `Resident memory of a registered, idle task (${total} tasks against ${few}, when ready)`,
        unit: 'bytes',
        ...once(perTask('all')),
        target: { atMost: 1024 },
        notes: { 'without file-backed pages, bytes': perTask('anonymous') },
      },
    ]
  })
