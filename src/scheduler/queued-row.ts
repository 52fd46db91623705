// A row from the moment it is admitted until its result or its error is known.

import type { EngineRow, RowResult } from '../engine/engine.js'
import { Problem } from '../problem.js'
import type { Feedback } from './feedback.js'
import type { SchedulableRow } from './flows.js'

/** The request that a row belongs to. */
export interface RequestState {
  /** One row has failed, so the others need not be computed. */
  failed: boolean
}

export interface QueuedRow extends SchedulableRow {
  readonly request: RequestState
  readonly feedback: Feedback
  readonly engineRow: EngineRow
  /** When it was queued, in milliseconds of the clock. */
  readonly since: number
  /** Clock.pausedMs() at that time. */
  readonly pausedMs: number
  /** An engine has started to compute it. */
  started: boolean
  readonly resolve: (result: RowResult) => void
  readonly reject: (error: Error) => void
}

/** Fails a row and its request. */
export function failRow({ request, reject }: QueuedRow, error: Error): void {
  request.failed = true
  reject(error)
}

export const textFailsEngines = (): Problem =>
  new Problem(
    'text_fails_engines',
    'two engines were lost while they computed a text of this request; the text is rejected for 10 minutes',
  )

export const clientDisconnected = (): Problem =>
  new Problem('client_closed_request', 'the client disconnected before the request was computed')
