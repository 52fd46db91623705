// Two builds of the server against each other: throughput at 64 clients, in turns.

import { access, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Benchmark, inTurns, median, summary } from '../support/figures.js'
import { mixedTexts, withDirectory } from '../support/material.js'
import { LoadProcess, startServerProcess } from '../support/process.js'
import { predictRequests } from '../support/requests.js'

const clients = 64
const requestsPerRound = 1_000
const rounds = 16

/** @param checkout folder of the other version, built: it has dist/ and its own models and masks */
export const versions =
  (checkout: string): Benchmark =>
  (say) =>
    withDirectory(async (directory) => {
      // Older versions have their program in another folder.
      const { bin } = JSON.parse(await readFile(join(checkout, 'package.json'), 'utf8')) as { bin: { propetl: string } }
      const cli = join(checkout, bin.propetl)
      await access(cli).catch(() => {
        throw new Error(`there is no ${cli}; --against is the folder of a checkout in which "npm run build" was run`)
      })
      // Both are there all the time, and only one of them is asked at any time.
      const servers = {
        this: await startServerProcess(join(directory, 'this')),
        other: await startServerProcess(join(directory, 'other'), [], {}, { cli }),
      }
      const load = new LoadProcess()
      const requests = predictRequests(mixedTexts())
      const p99 = { this: [] as number[], other: [] as number[] }
      const throughput = async (side: keyof typeof servers) => {
        const { url } = servers[side]
        const { perSecond, p99Ms } = await load.run({ url, clients, requests, amount: requestsPerRound })
        p99[side].push(p99Ms)
        return perSecond
      }
      for (const { url } of Object.values(servers)) await load.run({ url, clients, requests, amount: requestsPerRound })
      const turns = await inTurns(
        rounds,
        () => throughput('this'),
        () => throughput('other'),
        (round) => say(`versions: ${round} of ${rounds} rounds`),
      )
      load.stop()
      await servers.this.stop()
      await servers.other.stop()
      return [
        {
          what: `throughput at ${clients} clients, mixed tasks, against the version in ${checkout}`,
          unit: '×',
          ...summary(turns.ratios),
          target: { atLeast: 0.98 },
          notes: {
            'texts/s': median(turns.a),
            'texts/s of the other': median(turns.b),
            'p99 ms': median(p99.this),
            'p99 ms of the other': median(p99.other),
          },
        },
      ]
    })
