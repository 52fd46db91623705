// One thread at a time on the WebGPU device. All sessions of a process share onnxruntime's one context of it, which two
// threads at once corrupt: the process ends with a segmentation fault (microsoft/onnxruntime#32561).

import { workerData } from 'node:worker_threads'

/** The next turn to be given out, and the one that is on. */
const next = 0
const current = 1

/** The turns of the process. A worker thread is given those of the thread that starts it. */
export const deviceTurn: Int32Array<SharedArrayBuffer> =
  (workerData as { readonly deviceTurn?: Int32Array<SharedArrayBuffer> } | null)?.deviceTurn ??
  new Int32Array(new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT))

/** Does the work when this thread's turn comes, first come, first served; until then it stands still. Turns do not nest. */
export async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const mine = Atomics.add(deviceTurn, next, 1)
  for (let on = Atomics.load(deviceTurn, current); on !== mine; on = Atomics.load(deviceTurn, current))
    Atomics.wait(deviceTurn, current, on)
  try {
    return await work()
  } finally {
    Atomics.add(deviceTurn, current, 1)
    Atomics.notify(deviceTurn, current)
  }
}
