// What a prediction needs from the process that owns the engines: rate limits, admission control, and results. The HTTP
// server uses it in the same process (local-inference.ts) or from a worker process (remote-inference.ts). Requests and
// results are plain data.

import type { RowResult } from '../engine/engine.js'
import type { Owner } from '../owner.js'
import type { Demand } from '../scheduler/admission.js'
import type { CancelSignal, Submission } from '../scheduler/submission.js'
import type { RateStatus } from '../tenants/rates.js'
import type { Tenant } from '../tenants/tenant.js'

/** Who a prediction is computed for, and who is charged. */
export interface Payer {
  /** The tenant's id. An owner without a tenant, such as the operator, has no rate limits and the default share. */
  readonly owner: Owner
  readonly tenant?: Tenant
}

export interface InferenceOptions {
  /** In milliseconds of this process's performance.now(). */
  readonly deadline: number
  /** Aborted when the client has disconnected. Rows that no engine runs yet then leave the queue. */
  readonly signal?: CancelSignal
  /**
   * Nobody waits for the results. The rows are computed only if no others wait and the payer has at least half of its rate of
   * tokens left, and all others take precedence over them. Such work takes at most a tenth of the time. Otherwise it is rejected
   * as `overloaded`.
   */
  readonly background?: boolean
}

export type CheckOptions = Pick<InferenceOptions, 'deadline' | 'background'>

export interface Inference {
  /**
   * Charges one request to the payer's rate of requests. A payer without that limit is not charged.
   * @throws Problem `rate_limited`
   */
  takeRequest(payer: Payer): void | Promise<void>
  /**
   * Rejects a request that `submit` would reject now, before work is spent on it. It charges nothing. `submit` decides: a
   * remote implementation may answer from what it has heard lately, and then lets too much pass, but never too little.
   * @param demand the least that the request can ask for; without tasks, only the payer's rate of tokens is checked
   * @throws Problem `rate_limited` if the payer's tokens are used up; `overloaded`, `deadline_exceeded`
   */
  check(payer: Payer, demand: Demand, options: CheckOptions): void | Promise<void>
  /**
   * Computes rows. Charges the cost of admitted rows to the payer's rate of tokens, and refunds it if the server failed
   * the request: the cost of the rows that no engine started. The results are in the order of the rows.
   * @throws Problem those of Dispatcher.submit; `rate_limited`
   */
  submit(payer: Payer, rows: readonly Submission[], options: InferenceOptions): Promise<RowResult[]>
  /**
   * The state of the payer's rate limits, for the headers of a response. A remote implementation returns what it heard
   * last; empty if it has heard nothing.
   */
  statuses(payer: Payer): readonly RateStatus[]
}
