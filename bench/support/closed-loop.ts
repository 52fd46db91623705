// The load: so many clients, each sending its next request when the last was answered. Runs as a forked process.

import { Connection, type PostRequest, requestText } from './connection.js'
import { quantile } from './figures.js'

export interface LoadRequest {
  readonly url: string
  readonly clients: number
  /** Sent in this order, over and over, until `amount` were sent; the next one goes to whichever client is free. */
  readonly requests: readonly PostRequest[]
  readonly amount: number
}

export interface LoadResult {
  readonly failed: number
  readonly firstFailure: string
  /** Until the last answer. */
  readonly seconds: number
  /** Answers a second while every client was busy: until the last request was sent. */
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
}

process.on('message', (request: LoadRequest) => {
  void run(request).then((result) => process.send?.(result))
})

async function run({ url, clients, requests, amount }: LoadRequest): Promise<LoadResult> {
  const { hostname, port } = new URL(url)
  const texts = requests.map((each) => requestText(hostname, each))
  const latenciesMs: number[] = []
  let [sent, failed, answered, answeredWhileBusy] = [0, 0, 0, 0]
  let firstFailure = ''
  const start = performance.now()
  let busyUntil = start
  const client = async () => {
    const connection = new Connection(hostname, Number(port))
    while (sent < amount) {
      const text = texts[sent++ % texts.length] ?? ''
      if (sent === amount) {
        busyUntil = performance.now()
        answeredWhileBusy = answered
      }
      const sentAt = performance.now()
      const { status, body } = await connection.ask(text)
      answered++
      latenciesMs.push(performance.now() - sentAt)
      if (status !== '200') {
        failed++
        firstFailure ||= `${status} ${body}`
      }
    }
    connection.close()
  }
  await Promise.all(Array.from({ length: Math.min(clients, amount) }, client))
  return {
    failed,
    firstFailure,
    seconds: (performance.now() - start) / 1000,
    perSecond: (1000 * answeredWhileBusy) / (busyUntil - start),
    p50Ms: quantile(latenciesMs, 0.5),
    p99Ms: quantile(latenciesMs, 0.99),
  }
}
