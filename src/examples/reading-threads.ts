// The threads that read files of examples. An idle thread is kept for the next file, because a thread takes long to start.

import { Worker } from 'node:worker_threads'

const MiB = 1 << 20
/** Part of the server's memory that one thread may use for objects, and its bounds in bytes. */
const heap = { part: 1 / 32, least: 64 * MiB, most: 384 * MiB } as const

/** @param memoryBytes of the server */
export const heapBytesFor = (memoryBytes: number): number =>
  Math.floor(Math.min(heap.most, Math.max(heap.least, heap.part * memoryBytes)))

export class ReadingThreads {
  #idle: Worker | undefined
  #closed = false
  readonly #forget = () => {
    this.#idle?.off('error', this.#forget)
    this.#idle?.off('exit', this.#forget)
    this.#idle = undefined
  }

  constructor(
    /** Most memory of a thread for objects, in bytes. */
    readonly heapBytes: number,
  ) {}

  /** A thread that reads nothing. The caller gives it back without its listeners, or terminates it. */
  take(): Worker {
    const idle = this.#idle
    if (idle === undefined) return this.#start()
    this.#forget()
    idle.ref()
    return idle
  }

  give(worker: Worker): void {
    if (this.#closed || this.#idle) {
      void worker.terminate()
      return
    }
    this.#idle = worker
    worker.unref()
    worker.on('error', this.#forget)
    worker.on('exit', this.#forget)
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#idle?.terminate()
  }

  #start(): Worker {
    return new Worker(new URL('./reading-thread.js', import.meta.url), {
      name: 'examples',
      execArgv: [],
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: Math.floor(this.heapBytes / MiB) },
    })
  }
}
