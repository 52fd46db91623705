// The end of the server process. process.exit() waits for worker threads and for Node's thread pool, which cannot be
// interrupted while they run native code. So the process exits once they are idle, or kills itself after a timeout.

import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

let watchdog: Worker | undefined
const running = new Set<Worker>()
process.on('worker', (worker) => {
  if (worker === watchdog) return
  running.add(worker)
  worker.once('exit', () => running.delete(worker))
})

const pollMs = 20
/** Requests of Node's thread pool: file access and name resolution. */
const inThreadPool = /^(FSReq|GetAddrInfoReq|GetNameInfoReq)/

/** Resolves once process.exit() has nothing to wait for. That may never happen, so callers need another way to end. */
export async function threadsIdle(): Promise<void> {
  while (running.size > 0 || process.getActiveResourcesInfo().some((name) => inThreadPool.test(name)))
    await delay(pollMs)
}

/** Ends the process at once with SIGKILL, whatever its threads do. */
export function killNow(): never {
  process.kill(process.pid, 'SIGKILL')
  // As process 1 of a container it ignores signals from within the container, but not a fault.
  process.abort()
}

/** How long writing the last log line may take, in milliseconds. */
const lastLineMs = 200

/** The source is a string, so that the thread also starts when files cannot be read. */
const watchdogSource = `
  const { write } = require('node:fs')
  const { workerData: { ms, line } } = require('node:worker_threads')
  const end = () => process.kill(process.pid, 'SIGKILL')
  setTimeout(() => {
    if (line === undefined) return end()
    write(1, line.replace('<time>', new Date().toISOString()), end)
    setTimeout(end, ${lastLineMs})
  }, ms)
`

/**
 * Kills the process after a time, even if its main thread is blocked.
 * @param line the log line to write first, with `<time>` in place of the time; undefined: no line
 */
export function killAfter(ms: number, line: string | undefined): void {
  try {
    watchdog = new Worker(watchdogSource, { eval: true, execArgv: [], workerData: { ms, line } })
    watchdog.on('error', () => {})
    watchdog.unref()
  } catch {
    // If no thread can be started, the main thread's own timer has to suffice.
  }
}
