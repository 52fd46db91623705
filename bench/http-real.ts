// What a server gains over simple code: the texts of all bundled tasks from 64 clients over HTTP, against the bare
// backbone, without any task, that is fed one unpadded text at a time and does nothing else.

import { type Benchmark, inTurns, median, summary } from './figures.js'
import { loadModel, mixedTexts, rowsOf, withDirectory } from './material.js'
import { PlainSession } from './plain-session.js'
import { LoadProcess, startServerProcess } from './process.js'
import { predictRequests } from './requests.js'

const clients = 64
const textsOfTurn = 750
const turns = 8

export const httpReal: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const texts = mixedTexts()
    const requests = predictRequests(texts)
    const model = await loadModel()
    const rows = await rowsOf(model, texts)
    const bare = await PlainSession.open(model.backbone)
    const server = await startServerProcess(directory)
    const load = new LoadProcess()
    const latencies: { p50: number; p99: number }[] = []

    let [sent, fed] = [0, 0]
    const overHttp = async (amount: number) => {
      const part = Array.from({ length: amount }, (_, i) => requests[(sent + i) % requests.length] ?? never())
      const { seconds, p50Ms, p99Ms } = await load.run({ url: server.url, clients, requests: part, amount })
      sent += amount
      latencies.push({ p50: p50Ms, p99: p99Ms })
      return amount / seconds
    }
    const oneAtATime = async (amount: number) => {
      const start = performance.now()
      for (let i = 0; i < amount; i++) await bare.pooled(rows[(fed + i) % rows.length] ?? never())
      fed += amount
      return (1000 * amount) / (performance.now() - start)
    }
    await overHttp(clients * 4)
    await oneAtATime(clients * 4)
    const measured = await inTurns(
      turns,
      () => overHttp(textsOfTurn),
      () => oneAtATime(textsOfTurn),
      (turn) => say(`http-real: ${turn} of ${turns} turns`),
    )
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

const never = (): never => {
  throw new Error('there are no texts')
}
