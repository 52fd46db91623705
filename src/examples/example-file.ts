// A file of examples that is read in a worker thread. The thread is bounded in memory and time, and waits until a batch is
// processed before it reads the next one.

import type { Worker } from 'node:worker_threads'
import { Problem } from '../problem.js'
import type { ExampleBatch, FileReport, FileToRead } from './file-reading.js'
import type { ReadingRequest, ReadingResponse } from './reading-thread.js'
import type { ReadingThreads } from './reading-threads.js'

/** Longest time until the thread responds, in milliseconds. The survey reads the whole file. */
const responseMs = 300_000

export class ExampleFile {
  readonly file: FileToRead
  readonly #worker: Worker
  #receive: (response: ReadingResponse) => void = () => {}
  #fail: (problem: Problem) => void = () => {}
  /** Why the thread was terminated. */
  #failure: Problem | undefined
  readonly #onMessage = (response: ReadingResponse) => this.#receive(response)
  readonly #onError = (error: NodeJS.ErrnoException) => this.#end(this.#problemOf(error))
  readonly #onExit = () => this.#end(new Problem('invalid_data', `${this.file.name} could not be read`))
  readonly #abort = () => {
    this.#end(new Problem('client_closed_request', 'the client disconnected before the examples were stored'))
  }

  /** @param signal ends the reading */
  constructor(
    file: Omit<FileToRead, 'maxGroupBytes'>,
    readonly threads: ReadingThreads,
    readonly signal: AbortSignal,
  ) {
    this.file = { ...file, maxGroupBytes: Math.floor(threads.heapBytes / 2) }
    this.#worker = threads.take()
    this.#worker.on('message', this.#onMessage)
    this.#worker.on('error', this.#onError)
    this.#worker.on('exit', this.#onExit)
    signal.addEventListener('abort', this.#abort, { once: true })
    if (signal.aborted) this.#abort()
  }

  /** @throws Problem `invalid_data`, `client_closed_request` */
  async survey(): Promise<FileReport> {
    const response = await this.#ask({ kind: 'survey', file: this.file })
    if (response.kind !== 'report') throw new Error(`a report was expected, but there was ${response.kind}`)
    return response.report
  }

  /**
   * Reads the file, which was surveyed, from its start.
   * @param distinct whether examples whose texts occurred before are left out and counted
   */
  async *batches(distinct: boolean): AsyncGenerator<ExampleBatch> {
    for (;;) {
      const response = await this.#ask({ kind: 'next', distinct })
      if (response.kind === 'end') return
      if (response.kind !== 'batch') throw new Error(`a batch was expected, but there was ${response.kind}`)
      yield response.batch
    }
  }

  close(): void {
    this.signal.removeEventListener('abort', this.#abort)
    // The thread may still report an error while it is being terminated.
    if (this.#failure) return
    this.#worker.off('message', this.#onMessage)
    this.#worker.off('error', this.#onError)
    this.#worker.off('exit', this.#onExit)
    this.threads.give(this.#worker)
  }

  async #ask(request: ReadingRequest): Promise<ReadingResponse> {
    const { name } = this.file
    let timer: NodeJS.Timeout | undefined
    const response = await new Promise<ReadingResponse>((resolve, reject) => {
      this.#receive = resolve
      this.#fail = reject
      if (this.#failure) {
        reject(this.#failure)
        return
      }
      timer = setTimeout(() => {
        this.#end(new Problem('invalid_data', `${name} takes longer than ${responseMs / 1000} s to read`))
      }, responseMs)
      this.#worker.postMessage(request)
    }).finally(() => clearTimeout(timer))
    if (response.kind !== 'failed') return response
    if (response.invalid) throw new Problem('invalid_data', response.message, response.invalid)
    throw new Error(`${name} could not be read: ${response.message}`)
  }

  #end(problem: Problem): void {
    this.#failure ??= problem
    this.#fail(this.#failure)
    void this.#worker.terminate()
  }

  #problemOf(error: NodeJS.ErrnoException): Problem {
    const { name } = this.file
    return new Problem(
      'invalid_data',
      error.code === 'ERR_WORKER_OUT_OF_MEMORY'
        ? `${name} needs more than ${this.threads.heapBytes} bytes of memory to be read. Its rows may be very long, or nearly ` +
            'every row may have a label of its own; check the columns, or send smaller files'
        : `${name} could not be read: ${error.message}`,
    )
  }
}
