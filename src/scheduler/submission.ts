// What a caller submits to the dispatcher: rows of tasks, with a deadline.

import type { EngineRow } from '../engine/engine.js'
import type { Caller, Demand } from './admission.js'
import type { Load } from './flows.js'

/** What the dispatcher uses of an AbortSignal. */
export interface CancelSignal {
  readonly aborted: boolean
  readonly reason: unknown
  addEventListener(type: 'abort', listener: () => void, options: { readonly once: true }): void
  removeEventListener(type: 'abort', listener: () => void): void
}

export interface SubmitOptions extends Caller {
  /** The caller does not count as an active tenant, for whose sake batches are short. */
  readonly background?: boolean
  /**
   * Aborted when the client has disconnected. Rows that no engine runs yet then leave the queue. If the reason is a Problem,
   * the request fails with it: then the server is at fault, and refunds the request.
   */
  readonly signal?: CancelSignal
  /**
   * Called by submit() before it returns, once the request is admitted and before its rows enter the queue. The work is
   * charged here. It may throw to reject the request.
   */
  readonly onAdmitted?: () => void
  /** Called when the server failed the request. `cost` is that of the rows that no engine started. */
  readonly onRefund?: (cost: number) => void
}

export interface Submission {
  readonly task: string
  readonly row: EngineRow
  /** What fair queueing charges for the row, in token equivalents. Default and minimum: its tokens. */
  readonly cost?: number
}

export function loadOf({ row, cost = 0 }: Submission): Load {
  const tokens = row.inputIds.length
  // With a cost of NaN or infinity the turn of the tenant would never come again.
  return { tokens, cost: Number.isFinite(cost) ? Math.max(tokens, cost) : tokens }
}

export function demandOf(submissions: readonly Submission[]): Demand {
  const byTask = new Map<string, { tokens: number; cost: number }>()
  for (const submission of submissions) {
    const { tokens, cost } = loadOf(submission)
    const sum = byTask.get(submission.task) ?? { tokens: 0, cost: 0 }
    byTask.set(submission.task, { tokens: sum.tokens + tokens, cost: sum.cost + cost })
  }
  return { rows: submissions.length, byTask }
}
