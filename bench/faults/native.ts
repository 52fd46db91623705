// Faults in native code: the process must end by the signal, at once.

import { truncate } from 'node:fs/promises'
import { busiestThread, type ThreadFault } from '../../test/native-faults/thread-faults.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import type { ServerUnderTest } from './server.js'
import { longTexts, version } from './task-files.js'

const goneMs = 1_000
const patienceMs = 10_000

const faults: readonly { readonly fault: ThreadFault; readonly signal: NodeJS.Signals; readonly short: string }[] = [
  { fault: 'bad address', signal: 'SIGSEGV', short: 'segv' },
  { fault: 'truncated map', signal: 'SIGBUS', short: 'bus' },
]

/** The thread that runs the engine's batches, while it runs one that takes some seconds. */
export async function computingThread(server: ServerUnderTest): Promise<number> {
  void server.predict(longTexts(128))
  return busiestThread(server.pid, 700)
}

const threadFault = ({ fault, signal, short }: (typeof faults)[number], where: 'main' | 'engine'): Fault => ({
  name: `${short}-${where}`,
  does: `${fault} in the ${where === 'main' ? 'main thread' : 'thread that computes'}`,
  must: `the process ends by ${signal} within ${goneMs} ms`,
  needs: ['preload'],
  async run(stage) {
    const threads = await stage.threadFaults()
    const server = await stage.server({ env: threads.env })
    const thread = where === 'main' ? server.pid : await computingThread(server)
    threads.cause(fault, server.pid, thread)
    return endOf(server, signal)
  },
})

/** @param sinceMs when the fault was caused, if that is not now */
async function endOf(server: ServerUnderTest, signal: NodeJS.Signals, sinceMs = performance.now()): Promise<Finding[]> {
  await server.timeToEnd(patienceMs)
  return [
    atMost('until the process is gone', 'ms', performance.now() - sinceMs, goneMs),
    none('other ends than by the signal', unless(server.end === signal, server.end)),
  ]
}

const truncatedDatabase: Fault = {
  name: 'database-truncated',
  does: 'tasks.lmdb is cut to 8 KB while the server has it mapped, and a task is read',
  must: `it ends by SIGBUS within ${goneMs} ms, or lives and refuses changes; SIGTERM ends it`,
  async run(stage) {
    const dataDir = await stage.directory()
    const server = await stage.server({ dataDir, flags: ['--shutdown-timeout-ms', '3000'] })
    for (let id = 0; id < 30; id++) await server.put(`t${id}`, version(id))
    await truncate(`${dataDir}/tasks.lmdb`, 8192)
    // Its pages are read in different threads.
    const start = performance.now()
    const answer = await server.ask('GET', '/tasks/t5/file', { timeoutMs: 3_000 })
    if (!server.isEnded) await server.ask('GET', '/tasks/t6', { timeoutMs: 3_000 })
    await server.timeToEnd(goneMs)
    if (server.isEnded) return endOf(server, 'SIGBUS', start)
    const lives = await server.ask('GET', '/health/live', { timeoutMs: goneMs })
    const change = await server.put('new', version(0), { timeoutMs: 5_000 })
    server.signal('SIGTERM')
    const ms = await server.timeToEnd(patienceMs)
    return [
      none('spins', unless(lives.status === 200 && answer.status !== 0, 'it lives and does not answer')),
      none('changes accepted into a file that was cut', unless(change.status >= 400, 'the change was acknowledged')),
      atMost('from SIGTERM to the end', 'ms', ms, 4_000),
    ]
  },
}

export const nativeFaults: readonly Fault[] = [
  ...faults.flatMap((fault) => [threadFault(fault, 'main'), threadFault(fault, 'engine')]),
  truncatedDatabase,
]
