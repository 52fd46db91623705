// Ten times the load that the server can serve: responses in time, against the best throughput of the server.

import { type Benchmark, median, summary } from '../support/figures.js'
import { ClosedLoopProcess, OpenLoopProcess } from '../support/forked-script.js'
import { mixedTexts, withTemporaryDirectory } from '../support/material.js'
import { metricOf, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const clients = 64
const rounds = 7
const secondsPerRound = 5
const factor = 10
const timeoutMs = 1_000

interface Round {
  readonly ratio: number
  readonly peak: number
  readonly inTime: number
  /** Share of the requests that were admitted and got a response in time. */
  readonly shareInTime: number
  readonly late: number
  readonly dropped: number
  readonly eventLoopMs: number
  readonly loadCores: number
}

export const overload: Benchmark = (log) =>
  withTemporaryDirectory(async (directory) => {
    const server = await startServerProcess(directory)
    const [closed, open] = [new ClosedLoopProcess(), new OpenLoopProcess()]
    const requests = predictRequests(mixedTexts())
    const throughput = async (count: number) => {
      const result = await closed.run({ url: server.url, clients, requests, count })
      return result.perSecond
    }
    const eventLoopDelayMs = async () => 1000 * (await metricOf(server.url, 'nodejs_eventloop_lag_p99_seconds'))
    let peak = await throughput(500)
    const measured: Round[] = []
    for (let round = 0; round < rounds; round++) {
      // The metric covers the time since it was last read.
      await eventLoopDelayMs()
      const load = { url: server.url, requests, perSecond: factor * peak, seconds: secondsPerRound, timeoutMs }
      const { sent, inTime, late, rejected, seconds, cpuSeconds } = await open.run(load)
      const eventLoopMs = await eventLoopDelayMs()
      // Other load of the machine changes the peak, so it is measured before and after.
      const before = peak
      peak = await throughput(Math.ceil((secondsPerRound / 2) * before))
      const meanPeak = (before + peak) / 2
      measured.push({
        ratio: inTime / seconds / meanPeak,
        peak: meanPeak,
        inTime: inTime / seconds,
        shareInTime: inTime / (sent - (rejected[429] ?? 0)),
        late: late / seconds,
        dropped: (rejected[504] ?? 0) / seconds,
        eventLoopMs,
        loadCores: cpuSeconds / seconds,
      })
      log(`overload: round ${round + 1} of ${rounds}`)
    }
    closed.stop()
    open.stop()
    await server.stop()
    const medianOf = (pick: (round: Round) => number) => median(measured.map(pick))
    return [
      {
        name: `${factor} times the load that the server can serve: responses within ${timeoutMs / 1000} s, against the throughput of ${clients} clients`,
        unit: '×',
        ...summary(measured.map(({ ratio }) => ratio)),
        target: { atLeast: 0.9 },
        notes: {
          'in time/s': medianOf(({ inTime }) => inTime),
          'peak/s': medianOf((round) => round.peak),
          'share of admitted requests in time': medianOf(({ shareInTime }) => shareInTime),
          'late/s': medianOf(({ late }) => late),
          'admitted and dropped/s': medianOf(({ dropped }) => dropped),
          'event loop delay p99, ms': medianOf(({ eventLoopMs }) => eventLoopMs),
          'cores used by the load': medianOf(({ loadCores }) => loadCores),
        },
      },
    ]
  })
