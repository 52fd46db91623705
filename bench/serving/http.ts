// 64 clients over HTTP, mixed tasks, against the engines fed directly with the very batches that the server made of
// their requests.

import { pino } from 'pino'
import { readConfig } from '../../src/config.js'
import type { EngineRow } from '../../src/engine/engine.js'
import { startServer } from '../../src/server.js'
import { type Benchmark, summary } from '../support/figures.js'
import { mixedTexts, withDirectory } from '../support/material.js'
import { LoadProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const clients = 64
const requestsPerRound = 1_000
const rounds = 8

export const http: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const config = readConfig({ port: '0', provider: 'cpu', dataDir: directory }, {})
    // Log lines are written, as they would be, but to nowhere.
    const server = await startServer(config, pino({ level: 'info' }, { write: () => {} }))
    let batches: (readonly EngineRow[])[] = []
    const runs = server.services.engines.all.map((engine) => {
      const run = engine.run.bind(engine)
      engine.run = (rows) => {
        batches.push(rows)
        return run(rows)
      }
      return run
    })
    const load = new LoadProcess()
    const requests = predictRequests(mixedTexts())
    const overHttp = () => load.run({ url: server.address, clients, requests, amount: requestsPerRound })
    await load.run({ url: server.address, clients, requests, amount: clients * 4 })

    const figures: { ratio: number; http: number; direct: number; p50: number; p99: number; rows: number }[] = []
    for (let round = 0; round < rounds; round++) {
      batches = []
      const { perSecond, p50Ms, p99Ms } = await overHttp()
      // What all clients asked while all were busy; behind that come the last answers, of fewer and fewer.
      const full: (readonly EngineRow[])[] = []
      let rows = 0
      for (const batch of batches) {
        if (rows >= requestsPerRound - clients) break
        full.push(batch)
        rows += batch.length
      }
      const start = performance.now()
      await replay(full, runs)
      const direct = (1000 * rows) / (performance.now() - start)
      figures.push({
        ratio: perSecond / direct,
        http: perSecond,
        direct,
        p50: p50Ms,
        p99: p99Ms,
        rows: rows / full.length,
      })
      say(`http: ${round + 1} of ${rounds} rounds`)
    }
    load.stop()
    await server.close()
    const middle = (pick: (figure: (typeof figures)[number]) => number) => summary(figures.map(pick)).value
    return [
      {
        what: `HTTP throughput at ${clients} mixed-task clients against the engines fed directly with the same batches`,
        unit: '×',
        ...summary(figures.map(({ ratio }) => ratio)),
        target: { atLeast: 0.95 },
        notes: {
          'HTTP texts/s': middle(({ http }) => http),
          'direct texts/s': middle(({ direct }) => direct),
          'p50 ms': middle(({ p50 }) => p50),
          'p99 ms': middle(({ p99 }) => p99),
          'rows a batch': middle(({ rows }) => rows),
        },
      },
    ]
  })

/** Two batches at each engine at any time, as the dispatcher keeps it. */
async function replay(
  batches: readonly (readonly EngineRow[])[],
  runs: readonly ((rows: readonly EngineRow[]) => Promise<unknown>)[],
): Promise<void> {
  let next = 0
  const feed = async (run: (typeof runs)[number]) => {
    for (let rows = batches[next++]; rows !== undefined; rows = batches[next++]) await run(rows)
  }
  await Promise.all(runs.flatMap((run) => [feed(run), feed(run)]))
}
