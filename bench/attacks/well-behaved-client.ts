// The well-behaved client that is measured during an attack: one short text at a time, each with a timeout, and a new
// connection every 100 requests. Runs as a forked process, so that the attacker's work does not distort its clock.

import { setTimeout as pause } from 'node:timers/promises'
import { Connection, requestText } from '../support/connection.js'

export interface WellBehavedRequest {
  readonly url: string
  readonly key: string
  readonly seconds: number
}

export interface WellBehavedResult {
  /** A failed request counts with at least the timeout. */
  readonly latenciesMs: readonly number[]
  /** Number of failed requests by status and code. */
  readonly failures: Readonly<Record<string, number>>
}

const task = 'sst2'
const text = 'a gorgeous film of the year'
const pauseMs = 5
/** The timeout that each request states. */
const timeoutMs = 1_000
/** After this time a request counts as failed without a response. */
const giveUpMs = 30_000
const requestsPerConnection = 100

process.on('disconnect', () => process.exit())
process.on('message', (request: WellBehavedRequest) => {
  void run(request).then((result) => process.send?.(result))
})

async function run({ url, key, seconds }: WellBehavedRequest): Promise<WellBehavedResult> {
  const { hostname, port } = new URL(url)
  const headers = { authorization: `Bearer ${key}`, 'x-request-timeout-ms': String(timeoutMs) }
  const body = JSON.stringify({ inputs: text })
  const request = requestText(hostname, { path: `/tasks/${task}/predict`, body }, headers)
  const latenciesMs: number[] = []
  const failures: Record<string, number> = {}
  const until = performance.now() + 1000 * seconds
  let connection = new Connection(hostname, Number(port))
  for (let sent = 1; performance.now() < until; sent++) {
    const sentAt = performance.now()
    const giveUp = new AbortController()
    const { status, body } = await Promise.race([
      connection.send(request),
      pause(giveUpMs, { status: 'no response', body: '' }, { signal: giveUp.signal }),
    ])
    giveUp.abort()
    const tookMs = performance.now() - sentAt
    if (status === '200') latenciesMs.push(tookMs)
    else {
      latenciesMs.push(Math.max(tookMs, timeoutMs))
      const outcome = `${status} ${/"code":"(\w+)"/.exec(body)?.[1] ?? ''}`.trim()
      failures[outcome] = (failures[outcome] ?? 0) + 1
    }
    if (!/^\d+$/.test(status) || sent % requestsPerConnection === 0) {
      connection.close()
      connection = new Connection(hostname, Number(port))
    }
    await pause(pauseMs)
  }
  connection.close()
  return { latenciesMs, failures }
}
