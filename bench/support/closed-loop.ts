// A closed-loop load: each of N clients sends its next request when its last one got a response. Runs as a forked process.

import { Connection, type PostRequest, requestText } from './connection.js'
import { quantile } from './figures.js'

export interface ClosedLoopRequest {
  readonly url: string
  readonly clients: number
  /** Sent in this order, repeatedly, by whichever client is free. */
  readonly requests: readonly PostRequest[]
  /** Number of requests to send. */
  readonly count: number
}

export interface ClosedLoopResult {
  /** Requests whose status was not 200. */
  readonly failed: number
  readonly firstFailure: string
  /** Time until the last response. */
  readonly seconds: number
  /** Responses per second while every client was busy, which is until the last request was sent. */
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** Of every request. */
  readonly latenciesMs: readonly number[]
}

process.on('disconnect', () => process.exit())
process.on('message', (request: ClosedLoopRequest) => {
  void run(request).then((result) => process.send?.(result))
})

async function run({ url, clients, requests, count }: ClosedLoopRequest): Promise<ClosedLoopResult> {
  const { hostname, port } = new URL(url)
  const texts = requests.map((each) => requestText(hostname, each))
  const latenciesMs: number[] = []
  let [sent, failed, received, receivedWhileBusy] = [0, 0, 0, 0]
  let firstFailure = ''
  const start = performance.now()
  let busyUntil = start
  const client = async () => {
    const connection = new Connection(hostname, Number(port))
    while (sent < count) {
      const text = texts[sent++ % texts.length] ?? ''
      if (sent === count) {
        busyUntil = performance.now()
        receivedWhileBusy = received
      }
      const sentAt = performance.now()
      const { status, body } = await connection.send(text)
      received++
      latenciesMs.push(performance.now() - sentAt)
      if (status !== '200') {
        failed++
        firstFailure ||= `${status} ${body}`
      }
    }
    connection.close()
  }
  await Promise.all(Array.from({ length: Math.min(clients, count) }, client))
  return {
    failed,
    firstFailure,
    seconds: (performance.now() - start) / 1000,
    perSecond: (1000 * receivedWhileBusy) / (busyUntil - start),
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
    latenciesMs,
  }
}
