// The cost of HTTP and scheduling: 64 clients over HTTP, against the engines fed directly with the same batches.

import { pino } from 'pino'
import { readConfig } from '../../src/config.js'
import type { EngineRow } from '../../src/engine/engine.js'
import { startServer } from '../../src/server.js'
import { type Benchmark, summary } from '../support/figures.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import { mixedTexts, withTemporaryDirectory } from '../support/material.js'
import { predictRequests } from '../support/requests.js'

const clients = 64
const requestsPerRound = 1_000
const rounds = 8

export const http: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
    const config = readConfig({ port: '0', provider: 'cpu', dataDir: directory }, {})
    // Log lines are formatted as usual, and discarded.
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
    const load = new ClosedLoopProcess()
    const requests = predictRequests(mixedTexts())
    const overHttp = () => load.run({ url: server.address, clients, requests, count: requestsPerRound })
    await load.run({ url: server.address, clients, requests, count: clients * 4 })

    const measured: { ratio: number; http: number; direct: number; p50: number; p99: number; rows: number }[] = []
    for (let round = 0; round < rounds; round++) {
      batches = []
      const { perSecond, p50Ms, p99Ms } = await overHttp()
      // Leaves out the last batches, which are small because clients have stopped sending.
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
      measured.push({
        ratio: perSecond / direct,
        http: perSecond,
        direct,
        p50: p50Ms,
        p99: p99Ms,
        rows: rows / full.length,
      })
      log(`http: round ${round + 1} of ${rounds}`)
    }
    load.stop()
    await server.close()
    const medianOf = (pick: (round: (typeof measured)[number]) => number) => summary(measured.map(pick)).value
    return [
      {
        name: `HTTP throughput, ${clients} clients, twelve tasks, against the engines fed directly with the same batches`,
        unit: '×',
        ...summary(measured.map(({ ratio }) => ratio)),
        target: { atLeast: 0.95 },
        notes: {
          'HTTP texts/s': medianOf(({ http }) => http),
          'direct texts/s': medianOf(({ direct }) => direct),
          'p50 ms': medianOf(({ p50 }) => p50),
          'p99 ms': medianOf(({ p99 }) => p99),
          'rows per batch': medianOf(({ rows }) => rows),
        },
      },
    ]
  })

/** Keeps two batches at each engine, as the dispatcher does. */
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
