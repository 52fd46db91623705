// What a server gains over simple code: the texts of all bundled tasks from 64 clients over HTTP, against the bare
// backbone, without any task, that is fed one unpadded text at a time and does nothing else.

import { join } from 'node:path'
import { type Benchmark, median, summary } from '../support/figures.js'
import { loadModel, mixedTexts, rowsOf, withDirectory } from '../support/material.js'
import { PlainSession } from '../support/plain-session.js'
import { LoadProcess, metricOf, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const clients = 64
const textsOfTurn = 600
const turns = 8

type Measured = 'float32' | 'int8'

export const httpReal: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const texts = mixedTexts().slice(0, textsOfTurn)
    const requests = predictRequests(texts)
    const model = await loadModel()
    const rows = await rowsOf(model, texts)
    const bare = await PlainSession.open(model.backbone)
    const load = new LoadProcess()
    const latencies = { float32: [] as number[], int8: [] as number[] }
    const lags = { float32: [] as number[], int8: [] as number[] }
    const servers = {
      float32: await startServerProcess(join(directory, 'float32')),
      int8: await startServerProcess(join(directory, 'int8'), ['--numerics', 'int8']),
    }
    const overHttp = (numerics: Measured) => async () => {
      const { url } = servers[numerics]
      const { perSecond, p99Ms } = await load.run({ url, clients, requests, amount: textsOfTurn })
      latencies[numerics].push(p99Ms)
      // Of the time since it was last asked for.
      lags[numerics].push(1000 * (await metricOf(url, 'nodejs_eventloop_lag_p99_seconds')))
      return perSecond
    }
    const oneAtATime = async () => {
      const start = performance.now()
      for (const row of rows) await bare.pooled(row)
      return (1000 * textsOfTurn) / (performance.now() - start)
    }
    const sides = { float32: overHttp('float32'), int8: overHttp('int8'), bare: oneAtATime }
    const found: Record<keyof typeof sides, number>[] = []
    for (const warmUp of Object.values(sides)) await warmUp()
    for (let turn = 0; turn < turns; turn++) {
      const rates = { float32: 0, int8: 0, bare: 0 }
      // Another side goes first each time, so that none always runs in the same one's wake.
      const order = Object.keys(rates) as (keyof typeof sides)[]
      for (const side of [...order.slice(turn % 3), ...order.slice(0, turn % 3)]) rates[side] = await sides[side]()
      found.push(rates)
      say(`http-real: ${turn + 1} of ${turns} turns`)
    }
    load.stop()
    await Promise.all([servers.float32.stop(), servers.int8.stop(), bare.release()])
    const rate = (side: keyof typeof sides) => median(found.map((rates) => rates[side]))
    const figure = (a: Measured, b: keyof typeof sides, what: string, atLeast: number) => ({
      what,
      unit: '×',
      ...summary(found.map((rates) => rates[a] / rates[b])),
      target: { atLeast },
      notes: {
        [`${a} texts/s`]: rate(a),
        [`${b} texts/s`]: rate(b),
        'p99 ms': median(latencies[a]),
        'event loop delay p99 ms': median(lags[a]),
      },
    })
    const all = `texts of all bundled tasks from ${clients} clients over HTTP, throughput`
    const simple = 'against the bare backbone in float32 fed one unpadded text at a time'
    return [
      figure('float32', 'bare', `${all} in float32 ${simple}`, 1),
      figure('int8', 'bare', `${all} in int8 ${simple}`, 1.9),
      figure('int8', 'float32', `${all} in int8 against float32`, 1.7),
    ]
  })
