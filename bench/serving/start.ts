// Start-up time, and the resident memory of a warm server.

import { type Benchmark, summary } from '../support/figures.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import { mixedTexts, withTemporaryDirectory } from '../support/material.js'
import { processMemory, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const starts = 7

export const start: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
    const times: number[] = []
    for (let count = 0; count < starts; count++) {
      const server = await startServerProcess(directory)
      times.push(server.startMs / 1000)
      await server.stop()
      log(`start: ${count + 1} of ${starts}`)
    }
    return [{ name: 'Start-up: from process start to ready', unit: 's', ...summary(times), target: { atMost: 2 } }]
  })

const memoryRounds = 3
const warmUpRequests = 1_500

export const memory: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
    const load = new ClosedLoopProcess()
    const sizes: number[] = []
    for (let round = 0; round < memoryRounds; round++) {
      const server = await startServerProcess(directory)
      const requests = predictRequests(mixedTexts())
      await load.run({ url: server.url, clients: 64, requests, count: warmUpRequests })
      sizes.push(processMemory(server.process.pid).all / 1e6)
      await server.stop()
      log(`memory: round ${round + 1} of ${memoryRounds}`)
    }
    load.stop()
    return [
      {
        name: 'Resident memory of a warm server (after 1,500 texts of twelve tasks from 64 clients)',
        unit: 'MB',
        ...summary(sizes),
        target: { atMost: 450 },
      },
    ]
  })
