// Two builds of the server: the throughput of 64 clients, in alternation.

import { access } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { alternate, type Benchmark, median, summary } from '../support/figures.js'
import { ClosedLoopProcess } from '../support/forked-script.js'
import { mixedTexts, withTemporaryDirectory } from '../support/material.js'
import { startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const clients = 64
const requestsPerRound = 1_000
const rounds = 16

/** The command-line script of a build, in the current layout or that of versions before 0.2. */
async function builtCli(checkout: string): Promise<string> {
  for (const path of ['dist/cli.js', 'dist/src/cli.js']) {
    const cli = join(checkout, path)
    const exists = await access(cli).then(
      () => true,
      () => false,
    )
    if (exists) return cli
  }
  throw new Error(`${checkout} has no dist/cli.js; --against expects a checkout in which "npm run build" was run`)
}

/** @param checkout folder of the other version after "npm run build", with its own models and masks */
export const versions =
  (checkout: string): Benchmark =>
  (log) =>
    withTemporaryDirectory(async (directory) => {
      const cli = await builtCli(checkout)
      // Both servers run all the time, and only one of them receives requests at a time.
      const servers = {
        this: await startServerProcess(join(directory, 'this')),
        other: await startServerProcess(join(directory, 'other'), [], {}, { cli }),
      }
      const load = new ClosedLoopProcess()
      const requests = predictRequests(mixedTexts())
      const p99s = { this: [] as number[], other: [] as number[] }
      const throughput = async (side: keyof typeof servers) => {
        const { url } = servers[side]
        const { perSecond, p99Ms } = await load.run({ url, clients, requests, count: requestsPerRound })
        p99s[side].push(p99Ms)
        return perSecond
      }
      for (const { url } of Object.values(servers)) await load.run({ url, clients, requests, count: requestsPerRound })
      const { a, b, ratios } = await alternate(
        rounds,
        () => throughput('this'),
        () => throughput('other'),
        (round) => log(`versions: round ${round} of ${rounds}`),
      )
      load.stop()
      await servers.this.stop()
      await servers.other.stop()
      return [
        {
          name: `HTTP throughput, ${clients} clients, twelve tasks, against the version in ${basename(resolve(checkout))}`,
          unit: '×',
          ...summary(ratios),
          target: { atLeast: 0.98 },
          notes: {
            'this version, texts/s': median(a),
            'the other version, texts/s': median(b),
            'p99 of this version, ms': median(p99s.this),
            'p99 of the other version, ms': median(p99s.other),
          },
        },
      ]
    })
