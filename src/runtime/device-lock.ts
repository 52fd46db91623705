// A lock for the WebGPU device, held by one thread of the process at a time. All sessions of a process share onnxruntime's
// one WebGPU context. Two threads that use it at the same time corrupt it, and the process ends with a segmentation fault
// (microsoft/onnxruntime#32561). The lock is a ticket lock: first come, first served. A thread that ends releases the lock
// and its tickets; a thread that hangs with the lock keeps it.

import { threadId, Worker, workerData } from 'node:worker_threads'

// Elements of the shared array: the next ticket to give out, the ticket that has the lock, and then the thread of each
// waiting ticket, at the ticket number modulo `places`.
const next = 0
const current = 1
const firstPlace = 2
/** More than the number of threads that can wait at the same time. */
const places = 1024

const placeOf = (ticket: number): number => firstPlace + ((ticket >>> 0) % places)
/** The value for a thread; 0 means no thread. */
const markOf = (thread: number): number => thread + 1
/** The value for a thread that has ended. */
const ended = -1

/** The lock of the process. Worker threads receive it from the thread that starts them. */
const lock: Int32Array<SharedArrayBuffer> =
  (workerData as { readonly deviceLock?: Int32Array<SharedArrayBuffer> } | null)?.deviceLock ??
  new Int32Array(new SharedArrayBuffer((firstPlace + places) * Int32Array.BYTES_PER_ELEMENT))

/** Does the work with the lock. Blocks the thread until it has the lock. Calls must not nest. */
export async function withDeviceLock<T>(work: () => Promise<T>): Promise<T> {
  const ticket = Atomics.add(lock, next, 1)
  Atomics.store(lock, placeOf(ticket), markOf(threadId))
  for (let on = Atomics.load(lock, current); on !== ticket; on = Atomics.load(lock, current))
    Atomics.wait(lock, current, on)
  try {
    return await work()
  } finally {
    releaseLock(ticket)
  }
}

/** Starts a thread that may use the device. Its tickets are released when it ends. */
export function startThread(file: URL, options: object, name: string): Worker {
  const worker = new Worker(file, { workerData: { ...options, deviceLock: lock }, name })
  const thread = worker.threadId
  worker.once('exit', () => releaseTicketsOf(thread))
  return worker
}

/** Passes the lock on from a ticket, and skips tickets whose threads have ended. */
function releaseLock(first: number): void {
  let ticket = first
  while (Atomics.compareExchange(lock, current, ticket, (ticket + 1) | 0) === ticket) {
    Atomics.store(lock, placeOf(ticket), 0)
    ticket = (ticket + 1) | 0
    if (Atomics.load(lock, placeOf(ticket)) !== ended) break
  }
  Atomics.notify(lock, current)
}

/** @param thread the id of a thread that has ended */
function releaseTicketsOf(thread: number): void {
  for (let place = firstPlace; place < firstPlace + places; place++)
    Atomics.compareExchange(lock, place, markOf(thread), ended)
  // If the lock reaches a marked ticket later, releaseLock skips it. If a marked ticket has the lock now, release it here.
  const ticket = Atomics.load(lock, current)
  if (Atomics.load(lock, placeOf(ticket)) === ended) releaseLock(ticket)
}
