// A GPU: the cost of the masks from small batches to large ones, and HTTP throughput against the CPU of the same machine.

import { join } from 'node:path'
import type { Numerics } from '../../src/runtime/numerics.js'
import type { Provider } from '../../src/runtime/providers.js'
import { alternate, type Benchmark, type Figure, type Log, median, summary } from '../support/figures.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import {
  loadModel,
  type Model,
  mixedTexts,
  randomRows,
  startEngine,
  withTemporaryDirectory,
} from '../support/material.js'
import { startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'
import { againstBare } from './mixed-batch.js'

const rowTokens = 64
const batches = [
  { rows: 1, tasks: 1 },
  { rows: 16, tasks: 16 },
  { rows: 64, tasks: 64 },
  { rows: 256, tasks: 256 },
  { rows: 256, tasks: 32 },
]
const batchRounds = 20
const clients = 64
const httpRounds = 5
const requestsPerRound = 1_000

/** @param provider an execution provider that runs on a GPU */
export const device =
  (provider: Provider, numerics: Numerics): Benchmark =>
  async (log) => {
    const model = await loadModel()
    return [...(await batchTimes(model, provider, numerics, log)), await httpThroughput(provider, numerics, log)]
  }

async function batchTimes(model: Model, provider: Provider, numerics: Numerics, log: Log): Promise<Figure[]> {
  const slots = Math.max(...batches.map(({ tasks }) => tasks))
  const masked = await startEngine(model, { provider, numerics, slots })
  const bare = await startEngine(model, { provider, numerics, bare: true })
  const figures: Figure[] = []
  for (const { rows, tasks } of batches) {
    const batch = randomRows(model, rows, rowTokens, tasks)
    const { notes, ...measured } = await againstBare(masked, bare, batch, batchRounds)
    figures.push({
      name: `${provider}, ${numerics}: batch of ${rows} rows × ${rowTokens} tokens, ${tasks} ${tasks === 1 ? 'task' : 'tasks'}: time against the bare backbone`,
      ...measured,
      notes: { ...notes, 'tokens/s': (1000 * rows * rowTokens) / notes['masked ms'] },
    })
    log(`device: measured batches of ${rows} rows and ${tasks} tasks`)
  }
  await Promise.all([masked.close(), bare.close()])
  return figures
}

const httpThroughput = (provider: Provider, numerics: Numerics, log: Log): Promise<Figure> =>
  withTemporaryDirectory(async (directory) => {
    const requests = predictRequests(mixedTexts())
    const servers = {
      device: await startServerProcess(join(directory, 'device'), ['--provider', provider, '--numerics', numerics]),
      cpu: await startServerProcess(join(directory, 'cpu')),
    }
    const load = new ClosedLoopProcess()
    const p99s = { device: [] as number[], cpu: [] as number[] }
    const throughput = (side: keyof typeof servers) => async () => {
      const { url } = servers[side]
      const { perSecond, p99Ms } = await load.run({ url, clients, requests, count: requestsPerRound })
      p99s[side].push(p99Ms)
      return perSecond
    }
    for (const side of ['device', 'cpu'] as const) await throughput(side)()
    const { a, b, ratios } = await alternate(httpRounds, throughput('device'), throughput('cpu'), (round) =>
      log(`device: HTTP round ${round} of ${httpRounds}`),
    )
    load.stop()
    await Promise.all([servers.device.stop(), servers.cpu.stop()])
    return {
      name: `${provider}, ${numerics}: HTTP throughput, ${clients} clients, twelve tasks, against the CPU in float32`,
      unit: '×',
      ...summary(ratios),
      notes: {
        [`${provider} texts/s`]: median(a),
        'CPU texts/s': median(b),
        [`${provider} p99 ms`]: median(p99s.device),
        'CPU p99 ms': median(p99s.cpu),
      },
    }
  })
