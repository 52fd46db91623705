// HTTP workers: 256 clients over HTTP, with one text and with 32 texts a request, on servers with different numbers of
// workers. The load comes from several processes, so that it does not limit the server.

import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { type Provider, providers } from '../../src/runtime/providers.js'
import type { ClosedLoopRequest } from '../support/closed-loop.js'
import type { PostRequest } from '../support/connection.js'
import { type Benchmark, type Figure, median, quantile, summary } from '../support/figures.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import { mixedTexts, type TaskText, withTemporaryDirectory } from '../support/material.js'
import { startServerProcess } from '../support/process.js'
import { inputOf, predictRequests } from '../support/requests.js'

/** Without a device, requests with many texts of 256 clients would wait too long. */
const clientsOf = { device: { one: 256, many: 256 }, host: { one: 256, many: 16 } }
const textsTogether = 32
const rounds = 3
const secondsPerRound = 4
/** Processes of clients: enough for 40,000 requests per second, where there are cores for them. */
const loadProcesses = Math.max(1, Math.min(4, Math.floor(availableParallelism() / 4)))

interface Load {
  readonly name: string
  readonly clients: number
  readonly requests: readonly PostRequest[]
  readonly textsPerRequest: number
  /** Texts per second on a GPU with the most workers. */
  readonly target: number
}

export const httpWorkers =
  (provider: Provider, counts: readonly number[]): Benchmark =>
  (log) =>
    withTemporaryDirectory(async (directory) => {
      const texts = mixedTexts()
      const { one, many } = clientsOf[providers[provider].isDevice ? 'device' : 'host']
      const loads: readonly Load[] = [
        { name: 'one text', clients: one, requests: predictRequests(texts), textsPerRequest: 1, target: 15_000 },
        {
          name: `${textsTogether} texts`,
          clients: many,
          requests: inGroups(texts),
          textsPerRequest: textsTogether,
          target: 40_000,
        },
      ]
      const processes = Array.from({ length: loadProcesses }, () => new ClosedLoopProcess())
      const figures: Figure[] = []
      for (const workers of counts) {
        const flags = ['--provider', provider, '--http-workers', String(workers), '--max-queue-rows', '65536']
        const server = await startServerProcess(join(directory, String(workers)), flags)
        for (const { name, clients, requests, textsPerRequest, target } of loads) {
          const run = (count: number) => runTogether(processes, { url: server.url, clients, requests, count })
          const countFor = ({ perSecond }: { readonly perSecond: number }) =>
            Math.max(2 * clients, Math.ceil(secondsPerRound * perSecond))
          // Twice: the first requests are several times as slow as the later ones.
          const count = countFor(await run(countFor(await run(2 * clients))))
          const measured: Awaited<ReturnType<typeof run>>[] = []
          for (let round = 0; round < rounds; round++) measured.push(await run(count))
          const isTarget = provider === 'cuda' && workers === Math.max(...counts)
          figures.push({
            name: `HTTP throughput on ${provider}, ${clients} clients, ${name} a request, ${workers} HTTP ${workers === 1 ? 'process' : 'workers'}`,
            unit: 'texts/s',
            ...summary(measured.map((round) => textsPerRequest * round.perSecond)),
            ...(isTarget && { target: { atLeast: target } }),
            notes: {
              'p50 ms': median(measured.map(({ p50Ms }) => p50Ms)),
              'p99 ms': median(measured.map(({ p99Ms }) => p99Ms)),
              'processes of clients': loadProcesses,
            },
          })
          log(`http-workers: ${workers} workers, ${name} a request`)
        }
        await server.stop()
      }
      for (const process of processes) process.stop()
      return figures
    })

/** Requests for several texts, each with its task. */
const inGroups = (texts: readonly TaskText[]): PostRequest[] =>
  Array.from({ length: Math.floor(texts.length / textsTogether) }, (_, group) => ({
    path: '/predict',
    body: JSON.stringify({
      inputs: texts
        .slice(group * textsTogether, (group + 1) * textsTogether)
        .map((text) => ({ task: text.task, ...inputOf(text) })),
    }),
  }))

/** Runs a load that is divided among several processes. */
async function runTogether(
  processes: readonly ClosedLoopProcess[],
  { clients, requests, count, url }: ClosedLoopRequest,
): Promise<{ readonly perSecond: number; readonly p50Ms: number; readonly p99Ms: number }> {
  const share = (all: number) => Math.ceil(all / processes.length)
  const results = await Promise.all(
    processes.map((process, index) => {
      const first = Math.floor((index * requests.length) / processes.length)
      const own = [...requests.slice(first), ...requests.slice(0, first)]
      return process.run({ url, clients: share(clients), requests: own, count: share(count) })
    }),
  )
  const latencies = results.flatMap(({ latenciesMs }) => latenciesMs)
  return {
    perSecond: results.reduce((sum, { perSecond }) => sum + perSecond, 0),
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
  }
}
