// Admission control: a request is admitted if there is room for its rows and if it is expected to meet its deadline. A
// request that would be late is rejected at arrival, not after it has waited.

import { Problem } from '../problem.js'
import { type BatchLimits, largestBatch } from './batch.js'
import { Calibration } from './calibration.js'
import type { Clock } from './clock.js'
import type { CostModel } from './cost.js'
import type { EngineState } from './engine-state.js'
import type { Feedback } from './feedback.js'
import type { Load, SchedulableRow } from './flows.js'
import type { RowQueue } from './queue.js'

export interface Room {
  /** Most rows that may wait at once. */
  readonly limit: number
  /** Rows that wait: of everyone, of the tenant, of the task. */
  readonly all: number
  readonly tenant: number
  readonly task: number
}

/**
 * Rows that a request may add. A tenant must leave as much room free as its waiting rows take, and so must a task. The next
 * tenant therefore finds room, however many rows a flood sends. (Dynamic thresholds; Choudhury and Hahne 1998.)
 */
export const roomFor = ({ limit, all, tenant, task }: Room): number => Math.max(0, limit - all - tenant - task)

/** Who sends a request, and its deadline. */
export interface Caller {
  /** Tenants share the engines by weight. The tasks of one tenant share its part evenly. */
  readonly tenant: string
  readonly weight: number
  /** In milliseconds of the clock (performance.now()). */
  readonly deadline: number
}

/** What a request asks for: the number of its rows, and their load by task. */
export interface Demand {
  readonly rows: number
  readonly byTask: ReadonlyMap<string, Load>
}

/** What a request asks for before its texts are known. */
export const nothing: Demand = { rows: 0, byTask: new Map() }

/** The least that a request for a task can ask for. */
export const oneToken = (task: string): Demand => ({ rows: 1, byTask: new Map([[task, { tokens: 1, cost: 1 }]]) })

/**
 * Why a request was rejected at arrival. `wait`: it would wait past its deadline. `room`: the queue has no room for it.
 * `deadline`: it would miss its deadline even on an idle server. `text`: engines were lost with one of its texts.
 */
export type Rejection = 'wait' | 'room' | 'deadline' | 'text'

export class Admission {
  onRejected: (reason: Rejection) => void = () => {}

  constructor(
    readonly queue: Pick<
      RowQueue<SchedulableRow>,
      'size' | 'tokens' | 'tasks' | 'rowsOf' | 'backlogOf' | 'tokensUntilServed'
    >,
    readonly engines: readonly EngineState[],
    /** Most rows that may wait; see roomFor. */
    readonly maxQueueRows: number,
    /** The limits of a batch that is formed now. */
    readonly limits: () => BatchLimits,
    readonly cost: CostModel,
    readonly clock: Clock,
  ) {}

  /**
   * @returns the estimated wait before calibration, in milliseconds; undefined if no estimate was needed
   * @throws Problem `overloaded`, `deadline_exceeded`
   */
  admit(caller: Caller, demand: Demand, { calibration, lag }: Feedback): number | undefined {
    this.#checkRoom(caller, demand)
    const now = this.clock.now()
    const ownTokens = Array.from(demand.byTask.values()).reduce((sum, { tokens }) => sum + tokens, 0)
    const leftMs = Math.max(0, caller.deadline - now)
    // An idle engine always gets the request. If the cost model is wrong, the measured time corrects it.
    if (this.queue.size === 0 && this.engines.some(({ runner, busy }) => runner.available && !busy)) return undefined
    if (Calibration.maxRatio * this.estimateMs(this.queue.tokens + ownTokens) <= leftMs) return undefined
    const uncalibratedMs = this.estimateMs(this.queue.tokensUntilServed(caller, demand.byTask, caller.deadline))
    // If rows wait already, batches may form differently than estimated. Time for one more batch covers that.
    const estimatedMs =
      this.queue.size === 0
        ? uncalibratedMs
        : calibration.ratio * uncalibratedMs + this.#largestBatchMs(demand) + lag.allowanceMs
    if (estimatedMs <= leftMs) return uncalibratedMs
    const aloneMs = this.#servingMs(ownTokens)
    if (aloneMs > leftMs) {
      this.onRejected('deadline')
      throw new Problem(
        'deadline_exceeded',
        `the request takes about ${Math.ceil(aloneMs)} ms on an idle server, but its deadline is in ${Math.floor(leftMs)} ms`,
        { estimated_ms: Math.ceil(aloneMs), left_ms: Math.floor(leftMs) },
      )
    }
    this.onRejected('wait')
    throw this.#overloaded(
      caller,
      `the response would take about ${Math.ceil(estimatedMs)} ms, but the deadline is in ${Math.floor(leftMs)} ms; try again later`,
      estimatedMs - leftMs,
      { estimated_ms: Math.ceil(estimatedMs), left_ms: Math.floor(leftMs) },
    )
  }

  /** Milliseconds until the engines would have computed tokens that arrive now. */
  estimateMs(tokens: number): number {
    const now = this.clock.now()
    const free = this.engines.filter(({ runner }) => runner.available).map((engine) => engine.freeAt(now))
    return (free.length > 0 ? Math.min(...free) - now : 0) + this.#servingMs(tokens)
  }

  #checkRoom(caller: Caller, { rows, byTask }: Demand): void {
    const limit = this.maxQueueRows
    const waiting = Array.from(byTask.keys(), (task) => this.queue.rowsOf(caller.tenant, task))
    const task = waiting.reduce((longest, { task }) => Math.max(longest, task), 0)
    const tenant = waiting[0]?.tenant ?? 0
    const room = roomFor({ limit, all: this.queue.size, tenant, task })
    if (rows <= room) return
    this.onRejected('room')
    // After that time, about half of the tenant's waiting rows are computed.
    const { tokens, share } = this.queue.backlogOf(caller.tenant, caller.weight)
    throw this.#overloaded(
      caller,
      `the request has ${rows} texts, but the queue has room for ${room}: ${tenant} texts of this tenant wait already, ${task} of them for this task, and the limit of all tenants is ${limit}; send fewer texts or try again later`,
      this.#servingMs(tokens) / share / 2,
      { request_rows: rows, room, limit },
    )
  }

  #overloaded(
    { tenant, weight }: Caller,
    detail: string,
    retryAfterMs: number,
    figures: Readonly<Record<string, number>>,
  ): Problem {
    return new Problem('overloaded', detail, {
      ...figures,
      waiting_rows: this.queue.backlogOf(tenant, weight).rows,
      retry_after_s: Math.max(1, Math.ceil(retryAfterMs / 1000)),
    })
  }

  /** Milliseconds of the largest batch that the waiting tasks and those of the request can fill. */
  #largestBatchMs({ byTask }: Demand): number {
    return this.cost.batchMs(largestBatch(this.limits(), this.queue.tasks + byTask.size))
  }

  /** Milliseconds that the engines take for tokens, in batches of the largest size. */
  #servingMs(tokens: number): number {
    const { maxTokens } = this.limits()
    if (tokens <= maxTokens) return this.cost.batchMs(tokens)
    const engines = Math.max(1, this.engines.filter(({ runner }) => runner.available).length)
    return Math.ceil(tokens / maxTokens / engines) * this.cost.batchMs(maxTokens)
  }
}
