// Engines that are lost, and a process that was stopped for a while.

import { setTimeout as delay } from 'node:timers/promises'
import { processMemory } from '../support/process.js'
import { atMost, type Fault, none, unless } from './fault.js'
import { describeResponse, type ServerUnderTest } from './server.js'
import { longTexts } from './task-files.js'
import { timeUntil } from './waiting.js'

const losses = 20
const MB = 1e6
const recoveryMs = 60_000

/** Resolves when an engine serves short texts again. */
async function recovered(server: ServerUnderTest): Promise<void> {
  const ms = await timeUntil(async () => (await server.predict(['a gorgeous film'])).status === 200, recoveryMs, 200)
  if (ms === undefined) throw new Error(`no engine serves requests ${recoveryMs} ms after an engine was lost`)
}

interface Resources {
  readonly bytes: number
  /** Largest value of `bytes` so far. */
  readonly peak: number
  readonly threads: number
}

/** The lowest values of some seconds, by when abandoned threads have ended. */
async function resourcesOf(server: ServerUnderTest): Promise<Resources> {
  const samples = []
  for (let count = 0; count < 20; count++) {
    await delay(250)
    samples.push(processMemory(server.pid))
  }
  return {
    bytes: Math.min(...samples.map(({ all }) => all)),
    peak: Math.max(...samples.map(({ peak }) => peak)),
    threads: Math.min(...samples.map(({ threads }) => threads)),
  }
}

const engineLosses: Fault = {
  name: 'engine-losses',
  cause: `batches exceed --engine-timeout-ms until ${losses} engines are lost; the client keeps sending`,
  expected: 'memory and threads are as after one loss, and peak memory is at most three times that',
  async run(testbed) {
    const flags = ['--engine-timeout-ms', '1000', '--max-batch-tokens', '16384']
    // The container images set this too: glibc then returns the memory of an engine that ended.
    const server = await testbed.server({ flags, env: { MALLOC_TRIM_THRESHOLD_: '1048576' } })
    let sent = 0
    const lose = async (target: number) => {
      const isLost = async () => {
        // The server may reject a text that engines were lost with, so each batch has new texts.
        await server.predict(longTexts(80, sent++))
        return (await server.metric('propetl_engines_lost_total')) >= target
      }
      if ((await timeUntil(isLost, recoveryMs, 200)) === undefined) throw new Error(`loss ${target} does not happen`)
    }
    await lose(1)
    await recovered(server)
    const first = await resourcesOf(server)
    for (let loss = 2; loss <= losses; loss++) {
      await lose(loss)
      if (loss % 5 === 0) testbed.log(`${loss} of ${losses} losses`)
    }
    await recovered(server)
    const last = await resourcesOf(server)
    const megabytes = { 'after the last, MB': last.bytes / MB, 'after the first, MB': first.bytes / MB }
    return [
      atMost('memory after the last loss, against after the first', '×', last.bytes / first.bytes, 1.2, megabytes),
      atMost('threads after the last loss, more than after the first', '', last.threads - first.threads, 2, {
        threads: first.threads,
      }),
      atMost('peak memory until the last loss, against the first', '×', last.peak / first.peak, 3, {
        'peak MB': last.peak / MB,
      }),
    ]
  },
}

const pause: Fault = {
  name: 'pause',
  cause: 'the process is stopped for 4 s (SIGSTOP) during a batch; --engine-timeout-ms is 3000',
  expected: 'the batch succeeds, and no engine is lost',
  async run(testbed) {
    const server = await testbed.server({ flags: ['--engine-timeout-ms', '3000'] })
    const predicting = server.predict(longTexts(64))
    await delay(500)
    server.signal('SIGSTOP')
    await delay(4_000)
    server.signal('SIGCONT')
    const response = await predicting
    return [
      none('predictions that failed', unless(response.status === 200, describeResponse(response))),
      atMost('engines lost', '', await server.metric('propetl_engines_lost_total'), 0),
    ]
  },
}

export const engineFaults: readonly Fault[] = [engineLosses, pause]
