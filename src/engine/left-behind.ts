// Threads of this process that were given up and have not ended. Nothing can end a thread that hangs inside onnxruntime
// without the whole process, and each holds its memory: while there are too many, no further one is started.

import type { Worker } from 'node:worker_threads'

/** While so many threads are left behind no engine is replaced. */
export const mostLeftBehind = 2

const threads = new Map<Worker, Promise<void>>()

/** @param worker one that has not ended yet; it does not keep the process alive any more */
export function leaveBehind(worker: Worker): void {
  const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
  threads.set(worker, ended)
  worker.unref()
  void ended.then(() => threads.delete(worker))
}

/** How many there are now. */
export const leftBehind = (): number => threads.size

/** Waits until all that there are now have ended. */
export async function allEnded(): Promise<void> {
  for (const worker of threads.keys()) worker.ref()
  await Promise.all(threads.values())
}
