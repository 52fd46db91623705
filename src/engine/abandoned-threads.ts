// Threads of this process that were given up and have not ended. Nothing can end a thread that hangs in native code without
// the whole process: worker.terminate() waits for it, and so does process.exit(). Each keeps its memory. A thread that was
// only slow ends by itself as soon as its native call returns.

import { readFileSync } from 'node:fs'
import type { Worker } from 'node:worker_threads'
import { within } from '../running-time.js'

/** A new engine is started beside at most so many threads. */
export const maxAbandonedThreads = 2

const threads = new Map<Worker, Promise<void>>()

/** @param worker one that has not ended yet; it does not keep the process alive any more */
export function trackAbandonedThread(worker: Worker): void {
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  threads.set(worker, ended)
  worker.unref()
  void ended.then(() => threads.delete(worker))
}

/** How many there are now. */
export const abandonedThreadCount = (): number => threads.size

/** Resolves when one of those that there are now has ended. */
export const anyAbandonedThreadEnded = (): Promise<void> => Promise.race(threads.values())

/** Calls of allAbandonedThreadsEnded that have not returned. */
let waiting = 0

/** Waits until all that there are now have ended, but not for longer than so many milliseconds. */
export async function allAbandonedThreadsEnded(withinMs: number): Promise<void> {
  waiting++
  for (const worker of threads.keys()) worker.ref()
  await within(withinMs, Promise.all(threads.values()))
  if (--waiting > 0) return
  for (const worker of threads.keys()) worker.unref()
}

/** Memory for engines. */
export interface EngineMemory {
  /** What the process may take, in bytes. */
  readonly limitBytes: number
  /** What an engine takes, in bytes; 0 until it was measured. */
  engineBytes: number
}

/** Why no engine may be started beside the threads that are left behind; undefined if one may. */
export function startObstacle({ limitBytes, engineBytes }: EngineMemory): string | undefined {
  const count = abandonedThreadCount()
  if (count === 0) return undefined
  const hung = `${count} ${count === 1 ? 'thread that was' : 'threads that were'} given up ${count === 1 ? 'has' : 'have'} not ended`
  if (count > maxAbandonedThreads) return `${hung}; at most ${maxAbandonedThreads} may be left behind`
  const bytes = heldBytes()
  if (bytes + engineBytes <= limitBytes) return undefined
  return `${hung}, and the memory has no room for another engine: the process holds ${bytes} bytes, an engine takes about ${engineBytes}, and ${limitBytes} may be taken`
}

/** Memory of this process that cannot be taken back: on Linux without pages of files, such as those of the store. */
export function heldBytes(): number {
  try {
    const [, kilobytes] = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? []
    if (kilobytes !== undefined) return 1024 * Number(kilobytes)
  } catch {
    // Not Linux.
  }
  return process.memoryUsage.rss()
}
