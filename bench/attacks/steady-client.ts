// The well-behaved client: one short text at a time, each within a deadline, and now and then over a new connection.
// Runs as a forked process, so that its clock has little to do with the attacker's work.

import { setTimeout as pause } from 'node:timers/promises'
import { Connection, requestText } from '../support/connection.js'

export interface SteadyRequest {
  readonly url: string
  readonly key: string
  readonly seconds: number
}

export interface SteadyResult {
  /** In milliseconds; a request that failed counts as one that took at least as long as an answer is of use. */
  readonly latenciesMs: readonly number[]
  /** Everything that was no prediction, by status and code. */
  readonly failures: Readonly<Record<string, number>>
}

const task = 'sst2'
const text = 'a gorgeous film of the year'
const pauseMs = 5
/** Within which an answer is of use. */
const deadlineMs = 1_000
/** An answer that has not come so long after it was asked for never will. */
const patienceMs = 30_000
const requestsPerConnection = 100

// Nobody is left to ask it.
process.on('disconnect', () => process.exit())
process.on('message', (request: SteadyRequest) => {
  void run(request).then((result) => process.send?.(result))
})

async function run({ url, key, seconds }: SteadyRequest): Promise<SteadyResult> {
  const { hostname, port } = new URL(url)
  const headers = { authorization: `Bearer ${key}`, 'x-request-timeout-ms': String(deadlineMs) }
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
      connection.ask(request),
      pause(patienceMs, { status: 'no answer', body: '' }, { signal: giveUp.signal }),
    ])
    giveUp.abort()
    const tookMs = performance.now() - sentAt
    if (status === '200') latenciesMs.push(tookMs)
    else {
      latenciesMs.push(Math.max(tookMs, deadlineMs))
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
