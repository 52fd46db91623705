// Abandoned threads: worker threads that hung, were replaced, and have not ended. A thread that hangs in native code can only
// be ended together with the whole process: worker.terminate() and process.exit() both wait for it. It keeps its memory.
// A thread that was merely slow ends when its native call returns.

import { readFileSync } from 'node:fs'
import type { Worker } from 'node:worker_threads'
import { within } from '../running-time.js'

/** Most abandoned threads next to which a new engine is started. */
export const maxAbandonedThreads = 2

const threads = new Map<Worker, Promise<void>>()

/** @param worker a thread that has not ended; from now on it does not keep the process alive */
export function trackAbandonedThread(worker: Worker): void {
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  threads.set(worker, ended)
  worker.unref()
  void ended.then(() => threads.delete(worker))
}

/** Number of abandoned threads that have not ended. */
export const abandonedThreadCount = (): number => threads.size

/** Resolves when one of the current abandoned threads has ended. */
export const anyAbandonedThreadEnded = (): Promise<void> => Promise.race(threads.values())

/** Number of calls of allAbandonedThreadsEnded that have not returned. */
let waiting = 0

/** Waits until all current abandoned threads have ended, or until the timeout. */
export async function allAbandonedThreadsEnded(withinMs: number): Promise<void> {
  waiting++
  for (const worker of threads.keys()) worker.ref()
  await within(withinMs, Promise.all(threads.values()))
  if (--waiting > 0) return
  for (const worker of threads.keys()) worker.unref()
}

/** What decides whether the memory has room for another engine. */
export interface EngineMemory {
  /** Memory limit of the process, in bytes. */
  readonly limitBytes: number
  /** Memory of one engine, in bytes; 0 until it is measured. */
  engineBytes: number
}

/** Why no engine may start because of abandoned threads; undefined if one may. */
export function startObstacle({ limitBytes, engineBytes }: EngineMemory): string | undefined {
  const count = abandonedThreadCount()
  if (count === 0) return undefined
  const hung = `${count} abandoned ${count === 1 ? 'thread has' : 'threads have'} not ended`
  if (count > maxAbandonedThreads)
    return `${hung}; a new engine starts only with at most ${maxAbandonedThreads} of them`
  const bytes = heldBytes()
  if (bytes + engineBytes <= limitBytes) return undefined
  return `${hung}, and memory has no room for another engine: the process holds ${bytes} bytes, an engine takes about ${engineBytes}, and the limit is ${limitBytes}`
}

/**
 * Memory of this process that the system cannot reclaim, in bytes. On Linux this excludes file pages, such as those of the
 * store; elsewhere it is the resident set size.
 */
export function heldBytes(): number {
  try {
    const [, kilobytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
    if (kilobytes !== undefined) return 1024 * Number(kilobytes)
  } catch {
    // Not Linux.
  }
  return process.memoryUsage.rss()
}
