// Ordinary clients by themselves, and beside a crowd of bad ones: how much longer their slowest answers take.

import { type Benchmark, median } from '../support/figures.js'
import { besideOthers } from '../support/interference.js'
import { mixedTexts, withDirectory } from '../support/material.js'
import { CrowdProcess, metricOf, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

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
    const [first] = requests
    if (first === undefined) throw new Error('there are no texts')
    const held: number[] = []
    const openFiles = () => metricOf(url, 'process_open_fds')
    let before = 0
    const { notes, ...figure } = await besideOthers({
      turns,
      load: { url, clients, requests, amount: requestsPerTurn },
      others: async () => {
        before = await openFiles()
        const crowd = new CrowdProcess()
        crowd.start({ url, holding, perSecond, ...first })
        return crowd
      },
      comeMs: 2_000,
      goMs: 1_000,
      observe: async () => {
        held.push((await openFiles()) - before)
      },
      told: (turn) => say(`bad-clients: ${turn} of ${turns} turns`),
    })
    await server.stop()
    return [
      {
        what: `${clients} clients beside ${holding} that send slowly or not at all, and ${3 * perSecond} a second that send too much or leave, p99 against alone`,
        unit: '×',
        ...figure,
        target: { atMost: 2 },
        notes: { ...notes, 'bad connections at once': median(held) },
      },
    ]
  })
