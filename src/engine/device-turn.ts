// One thread at a time on the WebGPU device. All sessions of a process share onnxruntime's one context of it, which two
// threads at once corrupt: the process ends with a segmentation fault (microsoft/onnxruntime#32561).

import { workerData } from 'node:worker_threads'

const free = 0
const taken = 1

/** Whether a thread has its turn. A worker thread is given that of the thread that starts it. */
export const deviceTurn: Int32Array<SharedArrayBuffer> =
  (workerData as { readonly deviceTurn?: Int32Array<SharedArrayBuffer> } | null)?.deviceTurn ??
  new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))

/** Does the work when no other thread has its turn; until then this thread stands still. Turns do not nest. */
export async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  while (Atomics.compareExchange(deviceTurn, 0, free, taken) !== free) Atomics.wait(deviceTurn, 0, taken)
  try {
    return await work()
  } finally {
    Atomics.store(deviceTurn, 0, free)
    Atomics.notify(deviceTurn, 0, 1)
  }
}
