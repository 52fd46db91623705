// A row from the moment it is admitted until its result or its error is known.

import type { EngineRow, RowResult } from '../engine/engine.js'
import { Problem } from '../problem.js'
import type { Feedback } from './feedback.js'
import type { SchedulableRow } from './flows.js'

/** The request that rows belong to. One promise for all of them costs much less than one for each. */
export class PendingRequest {
  /** In the order of the rows. Rejected with the error of the first row that fails. */
  readonly results: Promise<RowResult[]>
  readonly #results: RowResult[] = []
  #left: number
  #failed = false
  #resolve: (results: RowResult[]) => void = () => {}
  #reject: (error: Error) => void = () => {}

  constructor(rows: number) {
    this.#left = rows
    this.results = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (rows === 0) this.#resolve([])
  }

  /** One row has failed, so the others need not be computed. */
  get failed(): boolean {
    return this.#failed
  }

  /** Called once for each row that is computed. */
  complete(row: number, result: RowResult): void {
    this.#results[row] = result
    if (--this.#left === 0) this.#resolve(this.#results)
  }

  fail(error: Error): void {
    this.#failed = true
    this.#reject(error)
  }
}

export interface QueuedRow extends SchedulableRow {
  readonly request: PendingRequest
  /** Its place in the request. */
  readonly index: number
  readonly feedback: Feedback
  readonly engineRow: EngineRow
  /** When it was queued, in milliseconds of the clock. */
  readonly since: number
  /** Clock.pausedMs() at that time. */
  readonly pausedMs: number
  /** An engine has started to compute it. */
  started: boolean
}

export const textFailsEngines = (): Problem =>
  new Problem(
    'text_fails_engines',
    'two engines were lost while they computed a text of this request; the text is rejected for 10 minutes',
  )

export const clientDisconnected = (): Problem =>
  new Problem('client_closed_request', 'the client disconnected before the request was computed')
