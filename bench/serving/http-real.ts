// The server against simple code: 64 clients over HTTP with texts of all bundled tasks, against the bare backbone that
// is fed one unpadded text at a time, without any task.

import { join } from 'node:path'
import { type Benchmark, type Figure, median, summary } from '../support/figures.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import { loadModel, mixedTexts, rowsOf, withTemporaryDirectory } from '../support/material.js'
import { PlainSession } from '../support/plain-session.js'
import { metricOf, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const clients = 64
const textsPerRound = 600
const rounds = 8

type ServerSide = 'float32' | 'int8'

export const httpReal: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
    const texts = mixedTexts().slice(0, textsPerRound)
    const requests = predictRequests(texts)
    const model = await loadModel()
    const rows = await rowsOf(model, texts)
    const bare = await PlainSession.open(model.backbone)
    const load = new ClosedLoopProcess()
    const p99s = { float32: [] as number[], int8: [] as number[] }
    const eventLoopDelays = { float32: [] as number[], int8: [] as number[] }
    const servers = {
      float32: await startServerProcess(join(directory, 'float32')),
      int8: await startServerProcess(join(directory, 'int8'), ['--numerics', 'int8']),
    }
    const overHttp = (numerics: ServerSide) => async () => {
      const { url } = servers[numerics]
      const { perSecond, p99Ms } = await load.run({ url, clients, requests, count: textsPerRound })
      p99s[numerics].push(p99Ms)
      // The metric covers the time since it was last read.
      eventLoopDelays[numerics].push(1000 * (await metricOf(url, 'nodejs_eventloop_lag_p99_seconds')))
      return perSecond
    }
    const oneAtATime = async () => {
      const start = performance.now()
      for (const row of rows) await bare.pooled(row)
      return (1000 * textsPerRound) / (performance.now() - start)
    }
    const sides = { float32: overHttp('float32'), int8: overHttp('int8'), bare: oneAtATime }
    const measured: Record<keyof typeof sides, number>[] = []
    for (const warmUp of Object.values(sides)) await warmUp()
    for (let round = 0; round < rounds; round++) {
      const rates = { float32: 0, int8: 0, bare: 0 }
      // The first side changes from round to round, so that no side always runs right after the same one.
      const order = Object.keys(rates) as (keyof typeof sides)[]
      for (const side of [...order.slice(round % 3), ...order.slice(0, round % 3)]) rates[side] = await sides[side]()
      measured.push(rates)
      log(`http-real: round ${round + 1} of ${rounds}`)
    }
    load.stop()
    await Promise.all([servers.float32.stop(), servers.int8.stop(), bare.release()])
    const rate = (side: keyof typeof sides) => median(measured.map((rates) => rates[side]))
    const figure = (a: ServerSide, b: keyof typeof sides, name: string, atLeast: number): Figure => ({
      name,
      unit: '×',
      ...summary(measured.map((rates) => rates[a] / rates[b])),
      target: { atLeast },
      notes: {
        [`${a} texts/s`]: rate(a),
        [`${b} texts/s`]: rate(b),
        'p99 ms': median(p99s[a]),
        'event loop delay p99, ms': median(eventLoopDelays[a]),
      },
    })
    const load64 = `HTTP throughput, ${clients} clients, twelve tasks`
    const simple = 'against the bare backbone in float32, one text at a time'
    return [
      figure('float32', 'bare', `${load64}, float32, ${simple}`, 1),
      figure('int8', 'bare', `${load64}, int8, ${simple}`, 1.9),
      figure('int8', 'float32', `${load64}, int8 against float32`, 1.7),
    ]
  })
