// A quiet task alone, and beside one that floods: how much longer its slowest answers take.

import type { Benchmark } from '../support/figures.js'
import { besideOthers } from '../support/interference.js'
import { mixedTexts, withDirectory } from '../support/material.js'
import { LoadProcess, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const floodTask = 'sst2'
const floodClients = 64
const turns = 6
const requestsPerTurn = 120

export const flood: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const server = await startServerProcess(directory)
    const { url } = server
    const texts = mixedTexts()
    const requests = predictRequests(texts.filter(({ task }) => task !== floodTask))
    const flooding = predictRequests(texts.filter(({ task }) => task === floodTask))
    const found = await besideOthers({
      turns,
      load: { url, clients: 1, requests, amount: requestsPerTurn },
      others: () => {
        const load = new LoadProcess()
        load.start({ url, clients: floodClients, requests: flooding, amount: 1_000_000 })
        return load
      },
      comeMs: 2_000,
      goMs: 500,
      told: (turn) => say(`flood: ${turn} of ${turns} turns`),
    })
    await server.stop()
    return [
      {
        what: `one client beside ${floodClients} that flood with another task, p99 against alone`,
        unit: '×',
        ...found,
        target: { atMost: 2.5 },
      },
    ]
  })
