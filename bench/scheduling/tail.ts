// Waits of many clients whose tasks have texts of different lengths. The dispatcher is the real one; clock and engines are
// simulated, so the figures are the same on every machine.

import { flood, type SimulatedRequest, simulate } from '../../test/scheduler/simulation.js'
import { type Benchmark, type Figure, once, quantile } from '../support/figures.js'
import { loadModel, mixedTexts, rowsOf, type TaskText } from '../support/material.js'

/** Two engines with one thread each, as measured with the bundled model on two cores. */
const machine = {
  engines: 2,
  maxTokens: 624,
  taskTokens: 78,
  batchMs: (tokens: number) => 2 + 0.27 * tokens,
}
const [warmUpMs, endMs] = [5_000, 35_000]
const floodTask = 'sst2'

interface Clients {
  readonly clients: number
  /** Their requests, in this order, repeatedly. */
  readonly requests: readonly SimulatedRequest[]
}

interface Waits {
  readonly p50: number
  readonly p99: number
  readonly perSecond: number
}

export const tail: Benchmark = async () => {
  const texts = mixedTexts()
  const rows = await rowsOf(await loadModel(), texts)
  const requestsOf = (is: (text: TaskText) => boolean, traits: SimulatedRequest = {}) =>
    texts.flatMap((text, index): SimulatedRequest[] =>
      is(text) ? [{ task: text.task, tokens: [rows[index]?.inputIds.length ?? 0], ...traits }] : [],
    )
  const all = requestsOf(() => true)
  const evenLoad = async (clients: number, requests: readonly SimulatedRequest[], name: string): Promise<Figure> => {
    const [{ p50, p99, perSecond }] = await waitsOf([{ clients, requests }])
    return {
      name: `Simulated: ${clients} clients, ${name}: p99 latency, against clients ÷ throughput`,
      unit: '×',
      ...once((p99 * perSecond) / 1000 / clients),
      ...(clients === 64 && { target: { atMost: 2.5 } }),
      notes: { 'p50 ms': p50, 'p99 ms': p99, 'texts/s': perSecond },
    }
  }
  const nextToFlood = async (quiet: Clients, others: Clients, name: string): Promise<Figure> => {
    const [alone] = await waitsOf([quiet])
    const [during, flooding] = await waitsOf([quiet, others])
    return {
      name: `Simulated: p99 latency of one client while ${others.clients} clients flood ${name}, against alone`,
      unit: '×',
      ...once(during.p99 / alone.p99),
      target: { atMost: 2.5 },
      notes: { 'p99 with the others, ms': during.p99, 'p99 alone, ms': alone.p99, 'texts/s': flooding?.perSecond ?? 0 },
    }
  }
  const quiet = { clients: 1, requests: requestsOf(({ task }) => task !== floodTask, { tenant: 'quiet' }) }
  const sameTenant = { clients: 1, requests: requestsOf(({ task }) => task !== floodTask) }
  return [
    await evenLoad(
      64,
      requestsOf(() => true, { task: 'one' }),
      'one task',
    ),
    ...(await Promise.all([4, 16, 64, 256].map((clients) => evenLoad(clients, all, 'twelve tasks')))),
    await nextToFlood(
      sameTenant,
      { clients: 64, requests: requestsOf(({ task }) => task === floodTask) },
      'another task',
    ),
    await nextToFlood(quiet, { clients: 64, requests: all }, 'the tasks of another tenant'),
  ]
}

/** The latencies of each group of clients, without the time of warming up. */
async function waitsOf<Groups extends readonly [Clients, ...Clients[]]>(
  groups: Groups,
): Promise<{ [Index in keyof Groups]: Waits }> {
  const simulation = simulate(machine)
  const groupOf = new Map<SimulatedRequest, number>()
  groups.forEach(({ clients, requests }, group) => {
    for (const request of requests) groupOf.set(request, group)
    let sent = 0
    flood(simulation, clients, () => requests[sent++ % requests.length] ?? {}, endMs)
  })
  await simulation.clock.run(endMs)
  const settled = simulation.outcomes.filter(({ arrivedAt }) => arrivedAt >= warmUpMs)
  return groups.map((_, group) => {
    const latencies = settled
      .filter(({ request }) => groupOf.get(request) === group)
      .map(({ arrivedAt, endedAt }) => endedAt - arrivedAt)
    return {
      p50: quantile(latencies, 0.5),
      p99: quantile(latencies, 0.99),
      perSecond: (1000 * latencies.length) / (endMs - warmUpMs),
    }
  }) as { [Index in keyof Groups]: Waits }
}
