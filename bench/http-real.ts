// What a server gains over simple code: the texts of all bundled tasks from 64 clients over HTTP, against the bare
// backbone, without any task, that is fed one unpadded text at a time and does nothing else.

import { type Benchmark, inTurns, median, summary } from './figures.js'
import { loadModel, mixedTexts, rowsOf, withDirectory } from './material.js'
import { PlainSession } from './plain-session.js'
import { LoadProcess, startServerProcess } from './process.js'
import { predictRequests } from './requests.js'

const clients = 64
const textsOfTurn = 600
const turns = 8

export const httpReal: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const texts = mixedTexts().slice(0, textsOfTurn)
    const requests = predictRequests(texts)
    const model = await loadModel()
    const rows = await rowsOf(model, texts)
    const bare = await PlainSession.open(model.backbone)
    const server = await startServerProcess(directory)
    const load = new LoadProcess()
    const latencies: { p50: number; p99: number }[] = []
    const overHttp = async () => {
      const { seconds, p50Ms, p99Ms } = await load.run({ url: server.url, clients, requests, amount: textsOfTurn })
      latencies.push({ p50: p50Ms, p99: p99Ms })
      return textsOfTurn / seconds
    }
    const oneAtATime = async () => {
      const start = performance.now()
      for (const row of rows) await bare.pooled(row)
      return (1000 * textsOfTurn) / (performance.now() - start)
    }
    for (const warmUp of [overHttp, oneAtATime]) await warmUp()
    const measured = await inTurns(turns, overHttp, oneAtATime, (turn) => say(`http-real: ${turn} of ${turns} turns`))
    load.stop()
    await server.stop()
    await bare.release()
    return [
      {
        what: `texts of all bundled tasks from ${clients} clients over HTTP, against the bare backbone fed one unpadded text at a time, throughput`,
        unit: '×',
        ...summary(measured.ratios),
        target: { atLeast: 1 },
        notes: {
          'HTTP texts/s': median(measured.a),
          'bare texts/s': median(measured.b),
          'p50 ms': median(latencies.map(({ p50 }) => p50)),
          'p99 ms': median(latencies.map(({ p99 }) => p99)),
        },
      },
    ]
  })
