// One thread at a time on the WebGPU device. All sessions of a process share onnxruntime's one context of it, which two
// threads at once corrupt: the process ends with a segmentation fault (microsoft/onnxruntime#32561). A thread that has ended
// loses its turns; one that hangs while it has the turn keeps it.

import { threadId, Worker, workerData } from 'node:worker_threads'

/** Each thread that asks takes a ticket. Here are the next ticket to be taken, and the one whose turn it is. */
const next = 0
const current = 1
/** Behind them: the thread that took a ticket, at the ticket's number modulo the number of places. */
const firstPlace = 2
/** More than there are threads at once. */
const places = 1024

const placeOf = (ticket: number): number => firstPlace + ((ticket >>> 0) % places)
/** What a place holds of a thread; 0 is no thread. */
const markOf = (thread: number): number => thread + 1
/** In place of a thread that has ended. */
const ended = -1

/** The turns of the process. A worker thread is given those of the thread that starts it. */
const turns: Int32Array<SharedArrayBuffer> =
  (workerData as { readonly deviceTurn?: Int32Array<SharedArrayBuffer> } | null)?.deviceTurn ??
  new Int32Array(new SharedArrayBuffer((firstPlace + places) * Int32Array.BYTES_PER_ELEMENT))

/** Does the work when this thread's turn comes, first come, first served; until then it blocks. Turns do not nest. */
export async function withDeviceLock<T>(work: () => Promise<T>): Promise<T> {
  const ticket = Atomics.add(turns, next, 1)
  Atomics.store(turns, placeOf(ticket), markOf(threadId))
  for (let on = Atomics.load(turns, current); on !== ticket; on = Atomics.load(turns, current))
    Atomics.wait(turns, current, on)
  try {
    return await work()
  } finally {
    endTurn(ticket)
  }
}

/** Starts a thread that may use the device. Its turns end with it. */
export function startThread(file: URL, options: object, name: string): Worker {
  const worker = new Worker(file, { workerData: { ...options, deviceTurn: turns }, name })
  const thread = worker.threadId
  worker.once('exit', () => endTurnsOf(thread))
  return worker
}

/** Ends a turn, and those that follow it as long as their threads have ended. */
function endTurn(first: number): void {
  let ticket = first
  while (Atomics.compareExchange(turns, current, ticket, (ticket + 1) | 0) === ticket) {
    Atomics.store(turns, placeOf(ticket), 0)
    ticket = (ticket + 1) | 0
    if (Atomics.load(turns, placeOf(ticket)) !== ended) break
  }
  Atomics.notify(turns, current)
}

/** @param thread one that has ended */
function endTurnsOf(thread: number): void {
  for (let place = firstPlace; place < firstPlace + places; place++)
    Atomics.compareExchange(turns, place, markOf(thread), ended)
  // A turn that begins now sees the mark, or has begun already and is ended here.
  const ticket = Atomics.load(turns, current)
  if (Atomics.load(turns, placeOf(ticket)) === ended) endTurn(ticket)
}
