// Ordinary clients by themselves, and beside a crowd of bad ones: how much longer their slowest answers take.

import { type Benchmark, inTurns, median, summary } from './figures.js'
import { mixedTexts, withDirectory } from './material.js'
import { CrowdProcess, LoadProcess, metricOf, startServerProcess } from './process.js'
import { predictRequests } from './requests.js'

const clients = 8
const requestsPerTurn = 600
const turns = 8
const holding = 300
const perSecond = 10

export const badClients: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const server = await startServerProcess(directory)
    const { url } = server
    const requests = predictRequests(mixedTexts())
    const load = new LoadProcess()
    const [first] = requests
    if (first === undefined) throw new Error('there are no texts')
    const middles: { alone: number[]; beside: number[] } = { alone: [], beside: [] }
    const rates: { alone: number[]; beside: number[] } = { alone: [], beside: [] }
    const held: number[] = []
    const measure = async (side: keyof typeof middles) => {
      const { p50Ms, p99Ms, perSecond: rate } = await load.run({ url, clients, requests, amount: requestsPerTurn })
      middles[side].push(p50Ms)
      rates[side].push(rate)
      return p99Ms
    }
    await load.run({ url, clients, requests, amount: requestsPerTurn })
    const openFiles = () => metricOf(url, 'process_open_fds')
    const { a, b, ratios } = await inTurns(
      turns,
      async () => {
        const before = await openFiles()
        const crowd = new CrowdProcess()
        crowd.start({ url, holding, perSecond, ...first })
        // All have come.
        await new Promise((resolve) => setTimeout(resolve, 2_000))
        const p99 = await measure('beside')
        held.push((await openFiles()) - before)
        crowd.stop()
        await new Promise((resolve) => setTimeout(resolve, 1_000))
        return p99
      },
      () => measure('alone'),
      (turn) => say(`bad-clients: ${turn} of ${turns} turns`),
    )
    load.stop()
    await server.stop()
    return [
      {
        what: `${clients} clients beside ${holding} that send slowly or not at all, and ${3 * perSecond} a second that send too much or leave, p99 against alone`,
        unit: '×',
        ...summary(ratios),
        target: { atMost: 2 },
        notes: {
          'p99 ms beside': median(a),
          'p99 ms alone': median(b),
          'p50 ms beside': median(middles.beside),
          'p50 ms alone': median(middles.alone),
          'texts/s beside': median(rates.beside),
          'texts/s alone': median(rates.alone),
          'bad connections at once': median(held),
        },
      },
    ]
  })
