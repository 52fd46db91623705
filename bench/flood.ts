// A quiet task alone, and beside one that floods: how much longer its slowest answers take.

import { type Benchmark, inTurns, median, summary } from './figures.js'
import { mixedTexts, withDirectory } from './material.js'
import { LoadProcess, startServerProcess } from './process.js'
import { predictRequests } from './requests.js'

const floodTask = 'sst2'
const floodClients = 64
const turns = 6
const requestsPerTurn = 120

export const flood: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const server = await startServerProcess(directory)
    const { url } = server
    const texts = mixedTexts()
    const quiet = new LoadProcess()
    const requests = predictRequests(texts.filter(({ task }) => task !== floodTask))
    const middles: { alone: number[]; beside: number[] } = { alone: [], beside: [] }
    const measure = async (side: keyof typeof middles) => {
      const { p50Ms, p99Ms } = await quiet.run({ url, clients: 1, requests, amount: requestsPerTurn })
      middles[side].push(p50Ms)
      return p99Ms
    }
    await quiet.run({ url, clients: 1, requests, amount: requestsPerTurn })
    const flooding = predictRequests(texts.filter(({ task }) => task === floodTask))
    const { a, b, ratios } = await inTurns(
      turns,
      async () => {
        const load = new LoadProcess()
        load.start({ url, clients: floodClients, requests: flooding, amount: 1_000_000 })
        await new Promise((resolve) => setTimeout(resolve, 2_000))
        const p99 = await measure('beside')
        load.stop()
        await new Promise((resolve) => setTimeout(resolve, 500))
        return p99
      },
      () => measure('alone'),
      (turn) => say(`flood: ${turn} of ${turns} turns`),
    )
    quiet.stop()
    await server.stop()
    return [
      {
        what: `one client beside ${floodClients} that flood with another task, p99 against alone`,
        unit: '×',
        ...summary(ratios),
        target: { atMost: 2.5 },
        notes: {
          'p99 ms beside': median(a),
          'p99 ms alone': median(b),
          'p50 ms beside': median(middles.beside),
          'p50 ms alone': median(middles.alone),
        },
      },
    ]
  })
