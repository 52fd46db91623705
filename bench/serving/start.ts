// From the start of the process to the first 200 of /health/ready, and the memory of a server that is warm.

import { type Benchmark, summary } from '../support/figures.js'
import { mixedTexts, withDirectory } from '../support/material.js'
import { LoadProcess, residentBytes, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const starts = 7

export const start: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const times: number[] = []
    for (let repeat = 0; repeat < starts; repeat++) {
      const server = await startServerProcess(directory)
      times.push(server.startMs / 1000)
      await server.stop()
      say(`start: ${repeat + 1} of ${starts}`)
    }
    return [{ what: 'process start to ready', unit: 's', ...summary(times), target: { atMost: 2 } }]
  })

export const memory: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const load = new LoadProcess()
    const sizes: number[] = []
    for (let repeat = 0; repeat < 3; repeat++) {
      const server = await startServerProcess(directory)
      await load.run({ url: server.url, clients: 64, requests: predictRequests(mixedTexts()), amount: 1_500 })
      sizes.push(residentBytes(server.process.pid).all / 1e6)
      await server.stop()
      say(`memory: ${repeat + 1} of 3`)
    }
    load.stop()
    return [
      {
        what: 'resident memory, ready and warm (after 1,500 mixed texts from 64 clients)',
        unit: 'MB',
        ...summary(sizes),
        target: { atMost: 450 },
      },
    ]
  })
