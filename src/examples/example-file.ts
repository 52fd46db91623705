// A file of examples that is read in a worker thread. The thread is bounded in memory and time, and waits until a batch is
// processed before it reads the next one.

import { Worker } from 'node:worker_threads'
import { Problem } from '../problem.js'
import type { ExampleBatch, FileReport, FileToRead } from './file-reading.js'
import type { BatchRequest, ReadingMessage } from './reading-thread.js'

/** Most memory of the thread for objects, in MiB. Buffers of files are bounded by the readers. */
const heapMiB = 384
/** Longest time until the thread answers, in milliseconds: for the survey, which reads the whole file, or for a batch. */
const answerMs = 300_000

export class ExampleFile {
  readonly #worker: Worker
  /** Receives the next message. */
  #receive: (message: ReadingMessage) => void = () => {}
  #failure: Problem | undefined
  #fail: (problem: Problem) => void = () => {}

  /** @param signal ends the reading */
  constructor(
    readonly file: FileToRead,
    signal: AbortSignal,
  ) {
    this.#worker = new Worker(new URL('./reading-thread.js', import.meta.url), {
      workerData: file,
      name: 'examples',
      execArgv: [],
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: heapMiB },
    })
    const abort = () => {
      this.#end(new Problem('client_closed_request', 'the client disconnected before the examples were stored'))
    }
    signal.addEventListener('abort', abort, { once: true })
    this.#worker.on('message', (message: ReadingMessage) => this.#receive(message))
    this.#worker.on('error', (error: NodeJS.ErrnoException) => this.#end(problemOf(error, file)))
    this.#worker.on('exit', () => {
      signal.removeEventListener('abort', abort)
      this.#end(new Problem('invalid_data', `${file.name} could not be read`))
    })
    if (signal.aborted) abort()
  }

  /** @throws Problem `invalid_data`, `client_closed_request` */
  async survey(): Promise<FileReport> {
    const message = await this.#message()
    if (message.kind !== 'report') throw new Error(`a survey sent ${message.kind}`)
    return message.report
  }

  /**
   * Reads the file from its start.
   * @param distinct whether examples whose texts occurred before are left out and counted
   */
  async *batches(distinct: boolean): AsyncGenerator<ExampleBatch> {
    for (;;) {
      this.#worker.postMessage({ distinct } satisfies BatchRequest)
      const message = await this.#message()
      if (message.kind === 'end') return
      if (message.kind !== 'batch') throw new Error(`a batch was expected, but there was ${message.kind}`)
      yield message.batch
    }
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  async #message(): Promise<ReadingMessage> {
    const { name } = this.file
    let timer: NodeJS.Timeout | undefined
    const message = await new Promise<ReadingMessage>((resolve, reject) => {
      this.#receive = resolve
      this.#fail = reject
      if (this.#failure) reject(this.#failure)
      timer = setTimeout(() => {
        this.#end(new Problem('invalid_data', `${name} takes longer than ${answerMs / 1000} s to read`))
      }, answerMs)
    }).finally(() => clearTimeout(timer))
    if (message.kind !== 'failed') return message
    if (message.isInvalid) throw new Problem('invalid_data', message.message)
    throw new Error(`${name} could not be read: ${message.message}`)
  }

  #end(problem: Problem): void {
    this.#failure ??= problem
    this.#fail(this.#failure)
    void this.#worker.terminate()
  }
}

function problemOf(error: NodeJS.ErrnoException, { name }: FileToRead): Problem {
  return new Problem(
    'invalid_data',
    error.code === 'ERR_WORKER_OUT_OF_MEMORY'
      ? `${name} needs more than ${heapMiB} MiB of memory to be read. Its rows may be very long, or nearly every row may have ` +
          'a label of its own; check the columns, or send smaller files'
      : `${name} could not be read: ${error.message}`,
  )
}
