// Engines that are lost, and clocks that stood still.

import { setTimeout as delay } from 'node:timers/promises'
import { residentBytes } from '../support/process.js'
import { atMost, type Fault, none, unless } from './fault.js'
import { type ServerUnderTest, told } from './server.js'
import { longTexts } from './task-files.js'
import { timeUntil } from './waiting.js'

const losses = 20
const MB = 1e6
const recoveryMs = 60_000

/** An engine takes short texts again. */
async function recovered(server: ServerUnderTest): Promise<void> {
  const ms = await timeUntil(async () => (await server.predict(['a gorgeous film'])).status === 200, recoveryMs, 200)
  if (ms === undefined) throw new Error(`no engine serves ${recoveryMs} ms after one was lost`)
}

interface Held {
  readonly bytes: number
  /** The most that `bytes` has been. */
  readonly peak: number
  readonly threads: number
}

/** Once what was given up has ended: the lowest of some seconds. */
async function held(server: ServerUnderTest): Promise<Held> {
  const samples = []
  for (let count = 0; count < 20; count++) {
    await delay(250)
    samples.push(residentBytes(server.pid))
  }
  return {
    bytes: Math.min(...samples.map(({ all }) => all)),
    peak: Math.max(...samples.map(({ peak }) => peak)),
    threads: Math.min(...samples.map(({ threads }) => threads)),
  }
}

const engineLosses: Fault = {
  name: 'engine-losses',
  does: `batches take longer than --engine-timeout-ms until ${losses} engines are lost; a client sends others at once`,
  must: 'memory and threads afterwards are as after one loss, and at no time is there more than that of three engines',
  async run(stage) {
    const flags = ['--engine-timeout-ms', '1000', '--max-batch-tokens', '16384']
    // As in the images: glibc then gives the memory of an engine that ended back.
    const server = await stage.server({ flags, env: { MALLOC_TRIM_THRESHOLD_: '1048576' } })
    let sent = 0
    const lose = async (target: number) => {
      const isLost = async () => {
        // A text that engines were lost with may be refused.
        await server.predict(longTexts(80, sent++))
        return (await server.metric('propetl_engines_lost_total')) >= target
      }
      if ((await timeUntil(isLost, recoveryMs, 200)) === undefined) throw new Error(`loss ${target} does not come`)
    }
    await lose(1)
    await recovered(server)
    const first = await held(server)
    for (let loss = 2; loss <= losses; loss++) {
      await lose(loss)
      if (loss % 5 === 0) stage.say(`${loss} of ${losses} losses`)
    }
    await recovered(server)
    const last = await held(server)
    const MBs = { 'MB after the last': last.bytes / MB, 'MB after the first': first.bytes / MB }
    return [
      atMost('memory after the last loss against the first', '×', last.bytes / first.bytes, 1.2, MBs),
      atMost('threads more than after the first', '', last.threads - first.threads, 2, { threads: first.threads }),
      atMost('most memory until the last loss against the first', '×', last.peak / first.peak, 3, {
        'MB at most': last.peak / MB,
      }),
    ]
  },
}

const pause: Fault = {
  name: 'pause',
  does: 'the process is stopped for 4 s (SIGSTOP) with a batch under way; --engine-timeout-ms is 3000',
  must: 'the batch is answered, no engine is lost',
  async run(stage) {
    const server = await stage.server({ flags: ['--engine-timeout-ms', '3000'] })
    const predicting = server.predict(longTexts(64))
    await delay(500)
    server.signal('SIGSTOP')
    await delay(4_000)
    server.signal('SIGCONT')
    const answer = await predicting
    return [
      none('predictions that failed', unless(answer.status === 200, told(answer))),
      atMost('engines lost', '', await server.metric('propetl_engines_lost_total'), 0),
    ]
  },
}

export const engineFaults: readonly Fault[] = [engineLosses, pause]
