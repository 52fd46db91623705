// Fairness between tasks: the latency of one client alone, and while 64 clients flood another task.

import type { Benchmark } from '../support/figures.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import { measureInterference } from '../support/interference.js'
import { mixedTexts, withTemporaryDirectory } from '../support/material.js'
import { startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const floodTask = 'sst2'
const floodClients = 64
const rounds = 6
const requestsPerRound = 120

export const flood: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
    const server = await startServerProcess(directory)
    const { url } = server
    const texts = mixedTexts()
    const requests = predictRequests(texts.filter(({ task }) => task !== floodTask))
    const floodRequests = predictRequests(texts.filter(({ task }) => task === floodTask))
    const measured = await measureInterference({
      rounds,
      load: { url, clients: 1, requests, count: requestsPerRound },
      startOthers: () => {
        const load = new ClosedLoopProcess()
        load.start({ url, clients: floodClients, requests: floodRequests, count: 1_000_000 })
        return load
      },
      startedMs: 2_000,
      stoppedMs: 500,
      onRound: (round) => log(`flood: round ${round} of ${rounds}`),
    })
    await server.stop()
    return [
      {
        name: `p99 latency of one client while ${floodClients} clients flood another task, against alone`,
        unit: '×',
        ...measured,
        target: { atMost: 2.5 },
      },
    ]
  })
