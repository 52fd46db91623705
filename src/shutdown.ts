// How a server process ends. process.exit() waits for worker threads and for the thread pool, and neither can be
// interrupted while it is in native code. So the process exits once they are threadsIdle, and else kills itself.

import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

let watchdog: Worker | undefined
const running = new Set<Worker>()
process.on('worker', (worker) => {
  if (worker === watchdog) return
  running.add(worker)
  worker.once('exit', () => running.delete(worker))
})

const lookEveryMs = 20
/** Requests of Node's thread pool: files and names of hosts. */
const inThreadPool = /^(FSReq|GetAddrInfoReq|GetNameInfoReq)/

/** Resolves once process.exit() would wait for nothing. It may never be: whoever calls this sees to an end all the same. */
export async function threadsIdle(): Promise<void> {
  while (running.size > 0 || process.getActiveResourcesInfo().some((name) => inThreadPool.test(name)))
    await delay(lookEveryMs)
}

/** Ends the process at once, by SIGKILL, whatever its threads do. */
export function killNow(): never {
  process.kill(process.pid, 'SIGKILL')
  // Process 1 of a container is spared by signals from within, but not by a fault.
  process.abort()
}

/** Milliseconds that the last line may take to be written. */
const lastLineMs = 200

/** It is text, so that it also starts while files cannot be read. */
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
 * Kills the process after so many milliseconds, also while its main thread is blocked.
 * @param line what to log then, with `<time>` in the place of the time; undefined: nothing
 */
export function killAfter(ms: number, line: string | undefined): void {
  try {
    watchdog = new Worker(watchdogSource, { eval: true, execArgv: [], workerData: { ms, line } })
    watchdog.on('error', () => {})
    watchdog.unref()
  } catch {
    // Where no thread can be made, the main thread's own timer has to do.
  }
}
