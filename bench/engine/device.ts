// On a GPU: what rows that are each of a task of their own cost there, from small batches to large ones; and what clients
// get over HTTP, beside the same server on the CPU of the machine.

import { join } from 'node:path'
import type { Numerics, Provider } from '../../src/runtime/execution-providers.js'
import { type Benchmark, type Figure, inTurns, median, summary } from '../support/figures.js'
import { loadModel, type Model, mixedTexts, randomRows, startEngine, withDirectory } from '../support/material.js'
import { LoadProcess, startServerProcess } from '../support/process.js'
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
const repeats = 20
const clients = 64
const turns = 5
const requestsOfTurn = 1_000

/** @param provider one that runs on a device */
export const device =
  (provider: Provider, numerics: Numerics): Benchmark =>
  async (say) => {
    const model = await loadModel()
    return [...(await mixed(model, provider, numerics, say)), await overHttp(provider, numerics, say)]
  }

async function mixed(
  model: Model,
  provider: Provider,
  numerics: Numerics,
  say: (progress: string) => void,
): Promise<Figure[]> {
  const slots = Math.max(...batches.map(({ tasks }) => tasks))
  const masked = await startEngine(model, { provider, numerics, slots })
  const bare = await startEngine(model, { provider, numerics, bare: true })
  const figures: Figure[] = []
  for (const { rows, tasks } of batches) {
    const { notes, ...found } = await againstBare(masked, bare, randomRows(model, rows, rowTokens, tasks), repeats)
    figures.push({
      what: `${provider}, ${numerics}: ${rows} rows × ${rowTokens} tokens of ${tasks} tasks, time against the bare backbone`,
      ...found,
      notes: { ...notes, 'tokens/s': (1000 * rows * rowTokens) / notes['masked ms'] },
    })
    say(`device: batches of ${rows} rows of ${tasks} tasks`)
  }
  await Promise.all([masked.close(), bare.close()])
  return figures
}

const overHttp = (provider: Provider, numerics: Numerics, say: (progress: string) => void): Promise<Figure> =>
  withDirectory(async (directory) => {
    const requests = predictRequests(mixedTexts())
    const servers = {
      device: await startServerProcess(join(directory, 'device'), ['--provider', provider, '--numerics', numerics]),
      cpu: await startServerProcess(join(directory, 'cpu')),
    }
    const load = new LoadProcess()
    const latencies = { device: [] as number[], cpu: [] as number[] }
    const rate = (side: keyof typeof servers) => async () => {
      const { url } = servers[side]
      const { perSecond, p99Ms } = await load.run({ url, clients, requests, amount: requestsOfTurn })
      latencies[side].push(p99Ms)
      return perSecond
    }
    for (const side of ['device', 'cpu'] as const) await rate(side)()
    const { a, b, ratios } = await inTurns(turns, rate('device'), rate('cpu'), (turn) =>
      say(`device: ${turn} of ${turns} turns over HTTP`),
    )
    load.stop()
    await Promise.all([servers.device.stop(), servers.cpu.stop()])
    return {
      what: `texts of all bundled tasks from ${clients} clients over HTTP, throughput on ${provider} in ${numerics} against the CPU`,
      unit: '×',
      ...summary(ratios),
      notes: {
        [`${provider} texts/s`]: median(a),
        'CPU texts/s': median(b),
        [`${provider} p99 ms`]: median(latencies.device),
        'CPU p99 ms': median(latencies.cpu),
      },
    }
  })
