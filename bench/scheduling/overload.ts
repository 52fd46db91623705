// Ten times the load that the server can take: what is answered in time, against what it answers at its best.

import { type Benchmark, median, summary } from '../support/figures.js'
import { mixedTexts, withDirectory } from '../support/material.js'
import { LoadProcess, metricOf, OpenLoadProcess, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const clients = 64
const rounds = 7
const secondsPerRound = 5
const overload = 10
const timeoutMs = 1_000

export const overloaded: Benchmark = (say) =>
  withDirectory(async (directory) => {
    const server = await startServerProcess(directory)
    const [closed, open] = [new LoadProcess(), new OpenLoadProcess()]
    const requests = predictRequests(mixedTexts())
    const perSecond = async (amount: number) => {
      const result = await closed.run({ url: server.url, clients, requests, amount })
      return result.perSecond
    }
    const lagMs = async () => 1000 * (await metricOf(server.url, 'nodejs_eventloop_lag_p99_seconds'))
    let peak = await perSecond(500)
    const found: {
      ratio: number
      peak: number
      inTime: number
      taken: number
      late: number
      dropped: number
      lag: number
      cpu: number
    }[] = []
    for (let round = 0; round < rounds; round++) {
      await lagMs()
      const load = { url: server.url, requests, perSecond: overload * peak, seconds: secondsPerRound, timeoutMs }
      const { sent, inTime, late, refused, seconds, cpuSeconds } = await open.run(load)
      const lag = await lagMs()
      // The best before and after: the machine is not alone.
      const before = peak
      peak = await perSecond(Math.ceil((secondsPerRound / 2) * before))
      const best = (before + peak) / 2
      found.push({
        ratio: inTime / seconds / best,
        peak: best,
        inTime: inTime / seconds,
        taken: inTime / (sent - (refused[429] ?? 0)),
        late: late / seconds,
        dropped: (refused[504] ?? 0) / seconds,
        lag,
        cpu: cpuSeconds / seconds,
      })
      say(`overload: ${round + 1} of ${rounds} rounds`)
    }
    closed.stop()
    open.stop()
    await server.stop()
    const middle = (pick: (round: (typeof found)[number]) => number) => median(found.map(pick))
    return [
      {
        what: `${overload} times the load that can be served: answers within ${timeoutMs} ms against the throughput at ${clients} clients`,
        unit: '×',
        ...summary(found.map(({ ratio }) => ratio)),
        target: { atLeast: 0.9 },
        notes: {
          'in time/s': middle(({ inTime }) => inTime),
          'peak/s': middle(({ peak }) => peak),
          'in time of those taken': middle(({ taken }) => taken),
          'late/s': middle(({ late }) => late),
          'taken and dropped/s': middle(({ dropped }) => dropped),
          'event loop delay p99 ms': middle(({ lag }) => lag),
          'cores that the load itself takes': middle(({ cpu }) => cpu),
        },
      },
    ]
  })
