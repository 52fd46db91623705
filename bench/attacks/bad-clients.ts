// The latency of ordinary clients alone, and next to hundreds of clients that send slowly, too much or nothing.

import { type Benchmark, median } from '../support/figures.js'
import { ForkedScript } from '../support/forked-script.js'
import { measureInterference } from '../support/interference.js'
import { mixedTexts, withTemporaryDirectory } from '../support/material.js'
import { metricOf, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'
import type { BadClientsRequest } from './bad-clients-process.js'

const clients = 8
const requestsPerRound = 600
const rounds = 8
const heldConnections = 300
const perSecond = 10

export const badClients: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
    const server = await startServerProcess(directory)
    const { url } = server
    const requests = predictRequests(mixedTexts())
    const [first] = requests
    if (first === undefined) throw new Error('the benchmark has no texts')
    const connections: number[] = []
    const openDescriptors = () => metricOf(url, 'process_open_fds')
    let before = 0
    const { notes, ...measured } = await measureInterference({
      rounds,
      load: { url, clients, requests, count: requestsPerRound },
      startOthers: async () => {
        before = await openDescriptors()
        const script = new URL('./bad-clients-process.js', import.meta.url)
        const others = new ForkedScript<BadClientsRequest, never>(script)
        others.start({ url, heldConnections, perSecond, ...first })
        return others
      },
      startedMs: 2_000,
      stoppedMs: 1_000,
      observe: async () => {
        connections.push((await openDescriptors()) - before)
      },
      onRound: (round) => log(`bad-clients: round ${round} of ${rounds}`),
    })
    await server.stop()
    return [
      {
        name: `p99 latency of ${clients} clients next to ${heldConnections} slow or silent connections and ${3 * perSecond} oversized or aborted requests/s, against alone`,
        unit: '×',
        ...measured,
        target: { atMost: 2 },
        notes: { ...notes, 'bad connections at once': median(connections) },
      },
    ]
  })
