// The loop between queue and engine: whenever the engine has room it takes what waits. No timers.

import type { BatchResult, EngineRow, RowResult } from '../engine/engine.js'
import { Problem } from '../problem.js'
import { type BatchLimits, RowQueue, type Waiting } from './queue.js'

export interface DispatcherOptions extends BatchLimits {
  /** Rows that may wait; a request that would exceed it is refused as a whole. */
  readonly maxQueueRows: number
  /** Batches handed to the engine at once: the second is ready when the first one ends. */
  readonly batchesInFlight: number
}

/** What the metrics want to know of each batch. */
export interface BatchReport extends Omit<BatchResult, 'rows'> {
  readonly rows: number
  readonly tasks: number
  /** How long each of its rows waited, in milliseconds. */
  readonly waitsMs: readonly number[]
}

export interface Submission {
  /** The flow that the row counts for. */
  readonly task: string
  readonly row: EngineRow
}

interface QueuedRow extends Waiting {
  readonly engineRow: EngineRow
  readonly since: number
  readonly resolve: (result: RowResult) => void
  readonly reject: (error: Error) => void
}

type Runner = { run(rows: readonly EngineRow[]): Promise<BatchResult> }

export class Dispatcher {
  readonly #queue = new RowQueue<QueuedRow>()
  #inFlight = 0
  #pumpPlanned = false
  onBatch: (report: BatchReport) => void = () => {}
  onDropped: (reason: 'deadline' | 'cancelled', rows: number) => void = () => {}

  constructor(
    readonly engine: Runner,
    readonly options: DispatcherOptions,
  ) {}

  get queuedRows(): number {
    return this.#queue.size
  }

  /** Nothing waits and nothing runs. */
  get idle(): boolean {
    return this.#queue.size === 0 && this.#inFlight === 0
  }

  /**
   * Runs rows, in whatever batches come to be, and answers in their order.
   * @param deadline in milliseconds of performance.now()
   * @param abandoned whether nobody waits for the answer any more: rows that have not begun are dropped then
   * @throws Problem `overloaded` at once if the queue has no room; `deadline_exceeded`, `client_closed_request`
   */
  async submit(submissions: readonly Submission[], deadline: number, abandoned: () => boolean): Promise<RowResult[]> {
    const count = submissions.length
    if (this.#queue.size + count > this.options.maxQueueRows)
      throw new Problem(
        'overloaded',
        `${this.#queue.size} rows are waiting and this request brings ${count}; at most ${this.options.maxQueueRows} may wait`,
        { waiting_rows: this.#queue.size, request_rows: count, limit: this.options.maxQueueRows },
      )
    let failed = false
    const gone = () => failed || abandoned()
    const results = submissions.map(({ task, row }) => this.#enqueue(task, row, deadline, gone))
    this.#planPump()
    try {
      return await Promise.all(results)
    } catch (error) {
      // One row's failure is the request's: the others must not be computed for nothing.
      failed = true
      throw error
    }
  }

  #enqueue(task: string, engineRow: EngineRow, deadline: number, gone: () => boolean): Promise<RowResult> {
    return new Promise((resolve, reject) => {
      this.#queue.add({
        task,
        maskKey: engineRow.maskKey,
        tokens: engineRow.inputIds.length,
        deadline,
        get cancelled() {
          return gone()
        },
        engineRow,
        since: performance.now(),
        resolve,
        reject,
      })
    })
  }

  /** Requests that arrive in the same turn of the event loop meet in the first batch. */
  #planPump(): void {
    if (this.#pumpPlanned) return
    this.#pumpPlanned = true
    setImmediate(() => {
      this.#pumpPlanned = false
      this.#pump()
    })
  }

  #pump(): void {
    while (this.#inFlight < this.options.batchesInFlight && this.#queue.size > 0) {
      const now = performance.now()
      const { batch, dropped } = this.#queue.next(now, this.options)
      for (const row of dropped) this.#drop(row, now)
      if (batch.length > 0) void this.#run(batch, now)
    }
  }

  async #run(batch: readonly QueuedRow[], now: number): Promise<void> {
    this.#inFlight++
    try {
      const { rows, ...figures } = await this.engine.run(batch.map((row) => row.engineRow))
      // The engine must not wait for the answers to be written.
      this.#inFlight--
      this.#pump()
      batch.forEach((row, index) => {
        const result = rows[index]
        if (result) row.resolve(result)
        else row.reject(new Error('the engine left out a row'))
      })
      this.onBatch({
        ...figures,
        rows: batch.length,
        tasks: new Set(batch.map((row) => row.maskKey)).size,
        waitsMs: batch.map((row) => now - row.since),
      })
    } catch (error) {
      this.#inFlight--
      this.#pump()
      for (const row of batch) row.reject(error as Error)
    }
  }

  #drop(row: QueuedRow, now: number): void {
    if (row.cancelled) {
      this.onDropped('cancelled', 1)
      row.reject(new Problem('client_closed_request', 'the client left before the request was computed'))
      return
    }
    this.onDropped('deadline', 1)
    const waited = Math.round(now - row.since)
    row.reject(
      new Problem('deadline_exceeded', `the request waited ${waited} ms and was not begun`, { waited_ms: waited }),
    )
  }
}
