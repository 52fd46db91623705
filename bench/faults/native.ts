// Faults in native code. The process must exit by the signal at once.

import { truncate } from 'node:fs/promises'
import { busiestThread, type ThreadFault } from '../../test/native-faults/thread-faults.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import type { ServerUnderTest } from './server.js'
import { longTexts, version } from './task-files.js'

const exitMs = 1_000
const waitMs = 10_000

const faults: readonly { readonly fault: ThreadFault; readonly signal: NodeJS.Signals; readonly short: string }[] = [
  { fault: 'bad address', signal: 'SIGSEGV', short: 'segv' },
  { fault: 'truncated map', signal: 'SIGBUS', short: 'bus' },
]

/** Sends a batch that runs for seconds. @returns the id of the thread that computes it */
export async function computingThread(server: ServerUnderTest): Promise<number> {
  void server.predict(longTexts(128))
  return busiestThread(server.pid, 700)
}

const threadFault = ({ fault, signal, short }: (typeof faults)[number], where: 'main' | 'engine'): Fault => ({
  name: `${short}-${where}`,
  cause: `${fault} in the ${where === 'main' ? 'main thread' : 'engine thread'}`,
  expected: `the process exits by ${signal} within ${exitMs} ms`,
  needs: ['preload'],
  async run(testbed) {
    const threads = await testbed.threadFaults()
    const server = await testbed.server({ env: threads.env })
    const thread = where === 'main' ? server.pid : await computingThread(server)
    threads.cause(fault, server.pid, thread)
    return endOf(server, signal)
  },
})

/** @param sinceMs when the fault was caused; the default is now */
async function endOf(server: ServerUnderTest, signal: NodeJS.Signals, sinceMs = performance.now()): Promise<Finding[]> {
  await server.timeToEnd(waitMs)
  return [
    atMost('time until the process exits', 'ms', performance.now() - sinceMs, exitMs),
    none('exits other than by the signal', unless(server.end === signal, server.end)),
  ]
}

const truncatedDatabase: Fault = {
  name: 'database-truncated',
  cause: 'tasks.lmdb is truncated to 8 KB while the server has it mapped, and a task is read',
  expected: `the process exits by SIGBUS within ${exitMs} ms, or keeps running and rejects changes; SIGTERM stops it`,
  async run(testbed) {
    const dataDir = await testbed.directory()
    const server = await testbed.server({ dataDir, flags: ['--shutdown-timeout-ms', '3000'] })
    for (let id = 0; id < 30; id++) await server.put(`t${id}`, version(id))
    await truncate(`${dataDir}/tasks.lmdb`, 8192)
    // The two requests read pages in different threads.
    const start = performance.now()
    const response = await server.request('GET', '/tasks/t5/file', { timeoutMs: 3_000 })
    if (!server.isEnded) await server.request('GET', '/tasks/t6', { timeoutMs: 3_000 })
    await server.timeToEnd(exitMs)
    if (server.isEnded) return endOf(server, 'SIGBUS', start)
    const lives = await server.request('GET', '/health/live', { timeoutMs: exitMs })
    const change = await server.put('new', version(0), { timeoutMs: 5_000 })
    server.signal('SIGTERM')
    const ms = await server.timeToEnd(waitMs)
    return [
      none('hangs', unless(lives.status === 200 && response.status !== 0, 'the process runs and does not respond')),
      none('changes accepted into the truncated file', unless(change.status >= 400, 'the change was acknowledged')),
      atMost('time from SIGTERM to the exit', 'ms', ms, 4_000),
    ]
  },
}

export const nativeFaults: readonly Fault[] = [
  ...faults.flatMap((fault) => [threadFault(fault, 'main'), threadFault(fault, 'engine')]),
  truncatedDatabase,
]
