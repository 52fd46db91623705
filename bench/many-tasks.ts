// 100,000 registered tasks against 10: throughput when every request may be of any of them, and memory of idle ones.

import { join } from 'node:path'
import { digestOf } from '../src/formats/digest.js'
import { LmdbStore } from '../src/store/lmdb.js'
import { TaskStore } from '../src/tasks/store.js'
import { operator } from '../src/tenants/tenant.js'
import { type Benchmark, inTurns, median, summary } from './figures.js'
import { mixedTexts, randomBytes, taskFileBytes, withDirectory } from './material.js'
import { LoadProcess, residentBytes, startServerProcess } from './process.js'
import { predictRequests } from './requests.js'
import { withShiftedBias } from './upload.js'

const many = 100_000
const few = 10
const rounds = 24
const requestsPerRound = 400

export const manyTasks: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const sides = { many: join(directory, 'many'), few: join(directory, 'few') }
    await registerTasks(sides.few, few, say)
    await registerTasks(sides.many, many, say)
    const servers = { many: await startServerProcess(sides.many), few: await startServerProcess(sides.few) }
    const idle = {
      many: residentBytes(servers.many.process.pid),
      few: residentBytes(servers.few.process.pid),
    }
    const load = new LoadProcess()
    const random = randomBytes(7)
    const requests = (count: number) =>
      predictRequests(
        mixedTexts()
          .slice(0, requestsPerRound)
          .map(({ text }) => ({ task: taskId((random() * 65_536 + random() * 256 + random()) % count), text })),
      )
    const perSecond = async (side: 'many' | 'few') => {
      const count = side === 'many' ? many : few
      const { requests: sent, seconds } = await load.run({
        url: servers[side].url,
        clients: 64,
        requests: requests(count),
        amount: requestsPerRound,
      })
      return sent / seconds
    }
    await perSecond('many')
    await perSecond('few')
    const turns = await inTurns(
      rounds,
      () => perSecond('many'),
      () => perSecond('few'),
      (round) => say(`many tasks: ${round} of ${rounds} rounds`),
    )
    load.stop()
    await servers.many.stop()
    await servers.few.stop()
    const perTask = (kind: 'all' | 'anonymous') => (idle.many[kind] - idle.few[kind]) / (many - few)
    return [
      {
        what: '100,000 registered tasks against 10, requests spread over all of them, throughput',
        unit: '×',
        ...summary(turns.ratios),
        target: { atLeast: 0.97 },
        notes: {
          'texts/s of 100,000': median(turns.a),
          'texts/s of 10': median(turns.b),
        },
      },
      {
        what: 'memory of a registered, idle task (resident memory at ready, 100,000 tasks less 10)',
        unit: 'bytes',
        ...summary([perTask('all')]),
        target: { atMost: 1024 },
        notes: { 'without file-backed pages': perTask('anonymous') },
      },
    ]
  })

const taskId = (index: number) => `task-${String(index).padStart(6, '0')}`

/** Fills a data directory with different versions of one task. */
async function registerTasks(directory: string, count: number, say: (progress: string) => void): Promise<void> {
  const store = LmdbStore.open(directory)
  const tasks = await TaskStore.open(store)
  const file = taskFileBytes('sst2')
  for (let first = 0; first < count; first += 2_000) {
    const batch = Array.from({ length: Math.min(2_000, count - first) }, (_, i) => first + i)
    await Promise.all(
      batch.map((index) => {
        const bytes = withShiftedBias(file, index)
        return tasks.put(operator, taskId(index), digestOf(bytes), bytes, () => {})
      }),
    )
    if (first % 20_000 === 0 && first > 0) say(`many tasks: ${first} of ${count} registered`)
  }
  await store.close()
}
