// Whether a request is admitted: there must be room for its rows, and by all that is known it must be answered before its
// deadline. A request that would be late is refused when it comes, and not when it is too late.

import { Problem } from '../problem.js'
import { type BatchLimits, largestBatch } from './batch.js'
import type { Clock } from './clock.js'
import type { CostModel } from './cost.js'
import type { EngineState } from './engine-state.js'
import type { Feedback } from './feedback.js'
import type { Load, SchedulableRow } from './flows.js'
import type { RowQueue } from './queue.js'

/** Past estimates that are remembered, in milliseconds in total: long ones have more weight, and replace each other sooner. */
const rememberedMs = 60_000
/** The ratio of waits to estimates is kept within these bounds. */
const [least, most] = [0.5, 4] as const

/**
 * What an estimate leaves out, learned from how long admitted requests waited: rows that came later and went first, texts
 * that did not fit together.
 */
export class Calibration {
  static readonly most = most
  #waitedMs = 0
  #estimatedMs = 0

  /** Actual waits divided by their estimates. */
  get ratio(): number {
    if (this.#estimatedMs === 0) return 1
    return Math.min(Math.max(this.#waitedMs / this.#estimatedMs, least), most)
  }

  learn(estimatedMs: number, waitedMs: number): void {
    const kept = rememberedMs / (rememberedMs + estimatedMs)
    this.#waitedMs = kept * this.#waitedMs + waitedMs
    this.#estimatedMs = kept * this.#estimatedMs + estimatedMs
  }

  /** A request was dropped after a wait. How much longer it would have waited is unknown: it counts twice. */
  learnLate(estimatedMs: number, waitedMs: number): void {
    this.learn(estimatedMs, 2 * waitedMs)
  }
}

export interface Room {
  /** Rows that may wait at once. */
  readonly limit: number
  /** Rows that wait: all, the tenant's, the task's. */
  readonly all: number
  readonly tenant: number
  readonly task: number
}

/**
 * Rows that a request may bring: a tenant that has many waiting leaves as much room free as it takes, and so does a task
 * within its tenant. However many rows a flood sends, the next tenant finds room. (Dynamic thresholds; Choudhury and Hahne
 * 1998.)
 */
export const roomFor = ({ limit, all, tenant, task }: Room): number => Math.max(0, limit - all - tenant - task)

/** Who asks, and when the answer must be there. */
export interface Caller {
  /** Tenants share the engines by weight, their tasks evenly. */
  readonly tenant: string
  readonly weight: number
  /** In milliseconds of the clock (performance.now()). */
  readonly deadline: number
}

/** The rows of a request by task, and how many they are. */
export interface Demand {
  readonly rows: number
  readonly byTask: ReadonlyMap<string, Load>
}

/** The least that a request of a task brings. */
export const oneToken = (task: string): Demand => ({ rows: 1, byTask: new Map([[task, { tokens: 1, cost: 1 }]]) })

/**
 * Why a request was refused when it came: it would have waited too long, there was no room, no time at all, or engines were
 * lost with one of its texts.
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
    /** Rows that may wait; see roomFor. */
    readonly maxQueueRows: number,
    /** Of the batches that are formed now. */
    readonly limits: () => BatchLimits,
    readonly cost: CostModel,
    readonly clock: Clock,
  ) {}

  /**
   * @returns the estimate before its calibration, if it was needed to decide that the answer comes in time
   * @throws Problem `overloaded`, `deadline_exceeded`
   */
  admit(caller: Caller, demand: Demand, { calibration, lag }: Feedback): number | undefined {
    this.#checkRoom(caller, demand)
    const now = this.clock.now()
    const ownTokens = Array.from(demand.byTask.values()).reduce((sum, { tokens }) => sum + tokens, 0)
    const leftMs = Math.max(0, caller.deadline - now)
    // An idle engine is always tried: the time it takes corrects the cost model, should that have been measured wrongly.
    if (this.queue.size === 0 && this.engines.some(({ runner, busy }) => runner.available && !busy)) return undefined
    if (Calibration.most * this.estimateMs(this.queue.tokens + ownTokens) <= leftMs) return undefined
    const uncalibratedMs = this.estimateMs(this.queue.tokensUntilServed(caller, demand.byTask, caller.deadline))
    // If rows wait, batches may turn out different: there should be time for one more.
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
        `the request takes about ${Math.ceil(aloneMs)} ms by itself, and must be answered within ${Math.floor(leftMs)} ms`,
        { estimated_ms: Math.ceil(aloneMs), left_ms: Math.floor(leftMs) },
      )
    }
    this.onRejected('wait')
    throw this.#overloaded(
      caller,
      `the request would be answered in about ${Math.ceil(estimatedMs)} ms, and must be within ${Math.floor(leftMs)} ms`,
      estimatedMs - leftMs,
      { estimated_ms: Math.ceil(estimatedMs), left_ms: Math.floor(leftMs) },
    )
  }

  /** Milliseconds until the engines would have served so many tokens that come now. */
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
    // By then about half of what the tenant has waiting is served.
    const { tokens, share } = this.queue.backlogOf(caller.tenant, caller.weight)
    throw this.#overloaded(
      caller,
      `the request brings ${rows} rows, and there is room for ${room} of its task: the tenant has ${tenant} rows waiting, ${task} of them of this task; at most ${limit} may wait of all tenants`,
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

  /** Milliseconds of the largest batch that can be formed of the tasks that wait and those of a request. */
  #largestBatchMs({ byTask }: Demand): number {
    return this.cost.batchMs(largestBatch(this.limits(), this.queue.tasks + byTask.size))
  }

  /** Milliseconds that the engines take for tokens, in batches as large as they may be. */
  #servingMs(tokens: number): number {
    const { maxTokens } = this.limits()
    if (tokens <= maxTokens) return this.cost.batchMs(tokens)
    const engines = Math.max(1, this.engines.filter(({ runner }) => runner.available).length)
    return Math.ceil(tokens / maxTokens / engines) * this.cost.batchMs(maxTokens)
  }
}
