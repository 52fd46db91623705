// The loop between queue and engines: whichever engine has room takes what waits. A request that would not be answered
// before its deadline is refused when it comes, and not when it is too late.

import type { BatchResult, EngineRow, RowResult } from '../engine/engine.js'
import { Problem } from '../problem.js'
import { Calibration, roomFor } from './admission.js'
import type { BatchLimits } from './batch.js'
import { type Clock, realClock } from './clock.js'
import type { CostModel } from './cost.js'
import type { Load, Waiting } from './flows.js'
import { Lag } from './lag.js'
import { Lane, type Runner } from './lane.js'
import { RowQueue } from './queue.js'

export interface DispatcherOptions extends BatchLimits {
  /** Rows that may wait; see roomFor. */
  readonly maxQueueRows: number
}

/** What the metrics want to know of each batch. */
export interface BatchReport extends Omit<BatchResult, 'rows'> {
  readonly rows: number
  readonly tasks: number
  /** How long each of its rows waited, in milliseconds. */
  readonly waitsMs: readonly number[]
}

/** Who asks, and until when. */
export interface Order {
  /** Tenants share the engines by weight, their tasks evenly. */
  readonly tenant: string
  readonly weight: number
  /** In milliseconds of the clock (performance.now()): when the answer must be there. */
  readonly deadline: number
  /** Aborted when nobody waits for the answer any more: rows that have not begun are taken out. */
  readonly signal?: AbortSignal
}

export interface Submission {
  readonly task: string
  readonly row: EngineRow
  /** What the row is charged when turns are counted, in token equivalents. At least, and by default, its tokens. */
  readonly cost?: number
}

/** Why a request was refused when it came: it would have waited too long, there was no room, or no time at all. */
export type Refusal = 'wait' | 'room' | 'deadline'

interface QueuedRow extends Waiting {
  readonly engineRow: EngineRow
  readonly since: number
  readonly resolve: (result: RowResult) => void
  readonly reject: (error: Error) => void
}

export class Dispatcher {
  readonly #queue = new RowQueue<QueuedRow>()
  readonly #calibration = new Calibration()
  readonly #lanes: readonly Lane[]
  readonly #lag = new Lag()
  #planned: { readonly at: number; readonly cancel: () => void } | undefined
  onBatch: (report: BatchReport) => void = () => {}
  onDropped: (reason: 'deadline' | 'cancelled', rows: number) => void = () => {}
  onRefused: (reason: Refusal) => void = () => {}

  constructor(
    engines: readonly Runner[],
    readonly options: DispatcherOptions,
    readonly cost: CostModel,
    readonly clock: Clock = realClock,
  ) {
    this.#lanes = engines.map((engine) => new Lane(engine))
  }

  get queuedRows(): number {
    return this.#queue.size
  }

  /** Nothing waits and nothing runs. */
  get idle(): boolean {
    return this.#queue.size === 0 && this.#lanes.every(({ busy }) => !busy)
  }

  /** How long all that waits now will take, in milliseconds. */
  get estimatedWaitMs(): number {
    const now = this.clock.now()
    return this.#queue.size === 0
      ? 0
      : this.#calibration.ratio * (this.#freeInMs(now) + this.#servingMs(this.#queue.tokens))
  }

  /** How long the row has been waiting that waits longest, in milliseconds. */
  get oldestMs(): number {
    const oldest = this.#queue.oldest
    return oldest === undefined ? 0 : this.clock.now() - oldest.since
  }

  /**
   * Refuses what could not be answered in time, however short its texts are. It is there to be asked before a request
   * has been read.
   * @throws Problem `overloaded`, `deadline_exceeded`
   */
  check(order: Order, task: string): void {
    this.#admit(order, new Map([[task, { tokens: 1, cost: 1 }]]), 1)
  }

  /**
   * Runs rows, in whatever batches come to be, and answers in their order.
   * @throws Problem `overloaded` or `deadline_exceeded` at once if they would not be answered before the deadline, or if
   *   there is no room for them; `deadline_exceeded` later if it took longer than was thought; `client_closed_request`
   */
  async submit(submissions: readonly Submission[], order: Order): Promise<RowResult[]> {
    const { tenant, weight, deadline, signal } = order
    const asked = new Map<string, Load>()
    for (const submission of submissions) {
      const { tokens, cost } = loadOf(submission)
      const sum = asked.get(submission.task)
      asked.set(submission.task, { tokens: tokens + (sum?.tokens ?? 0), cost: cost + (sum?.cost ?? 0) })
    }
    const estimatedMs = this.#admit(order, asked, submissions.length)
    const since = this.clock.now()
    const rows: QueuedRow[] = []
    const results = submissions.map(
      (submission) =>
        new Promise<RowResult>((resolve, reject) => {
          const { task, row: engineRow } = submission
          const { maskKey } = engineRow
          const { tokens, cost } = loadOf(submission)
          rows.push({ tenant, weight, task, maskKey, tokens, cost, deadline, engineRow, since, resolve, reject })
        }),
    )
    for (const row of rows) this.#queue.add(row)
    const leave = () => this.#leave(rows)
    signal?.addEventListener('abort', leave, { once: true })
    if (signal?.aborted) leave()
    // Requests that arrive in the same turn of the event loop meet in the first batch.
    this.#plan(since)
    const waited = () => this.clock.now() - since
    try {
      const answers = await Promise.all(results)
      if (estimatedMs !== undefined) this.#calibration.learn(estimatedMs, waited())
      return answers
    } catch (error) {
      const late = error instanceof Problem && error.code === 'deadline_exceeded'
      if (late && estimatedMs !== undefined) this.#calibration.learnLate(estimatedMs, waited())
      // One row's failure is the request's: the others must not be computed for nothing.
      for (const row of rows) this.#queue.remove(row)
      throw error
    } finally {
      signal?.removeEventListener('abort', leave)
    }
  }

  /** @returns the estimate before its calibration, where it took a closer look to tell that the answer comes in time */
  #admit(order: Order, asked: ReadonlyMap<string, Load>, count: number): number | undefined {
    const now = this.clock.now()
    const ownTokens = Array.from(asked.values()).reduce((sum, { tokens }) => sum + tokens, 0)
    const leftMs = Math.max(0, order.deadline - now)
    const { ratio } = this.#calibration
    const estimate = (tokens: number) => this.#freeInMs(now) + this.#servingMs(tokens)
    this.#checkRoom(order, asked, count)
    // An idle engine is always tried: by what it takes now the cost is put right, should it have been measured wrongly.
    if (this.#queue.size === 0 && this.#lanes.some(({ busy }) => !busy)) return undefined
    if (Calibration.most * estimate(this.#queue.tokens + ownTokens) <= leftMs) return undefined
    const uncalibratedMs = estimate(this.#queue.tokensUntilServed(order, asked, order.deadline))
    // Where rows wait, batches may turn out otherwise: there should be time for one more.
    const estimatedMs =
      this.#queue.size === 0
        ? uncalibratedMs
        : ratio * uncalibratedMs + this.cost.batchMs(this.options.maxTokens) + this.#lag.allowanceMs
    if (estimatedMs <= leftMs) return uncalibratedMs
    const aloneMs = this.#servingMs(ownTokens)
    if (aloneMs > leftMs) {
      this.onRefused('deadline')
      throw new Problem(
        'deadline_exceeded',
        `the request takes about ${Math.ceil(aloneMs)} ms by itself, and must be answered within ${Math.floor(leftMs)} ms`,
        { estimated_ms: Math.ceil(aloneMs), left_ms: Math.floor(leftMs) },
      )
    }
    this.onRefused('wait')
    throw this.#overloaded(
      `the request would be answered in about ${Math.ceil(estimatedMs)} ms, and must be within ${Math.floor(leftMs)} ms`,
      estimatedMs - leftMs,
      { estimated_ms: Math.ceil(estimatedMs), left_ms: Math.floor(leftMs) },
    )
  }

  #checkRoom({ tenant }: Order, asked: ReadonlyMap<string, Load>, count: number): void {
    const { maxQueueRows: limit } = this.options
    const waiting = Array.from(asked.keys(), (task) => this.#queue.rowsOf(tenant, task))
    const task = waiting.reduce((most, rows) => Math.max(most, rows.task), 0)
    const all = this.#queue.size
    const room = roomFor({ limit, all, tenant: waiting[0]?.tenant ?? 0, task })
    if (count <= room) return
    this.onRefused('room')
    throw this.#overloaded(
      `the request brings ${count} rows, and there is room for ${room} of its task: ${all} rows are waiting, ${task} of them of its task; at most ${limit} may wait`,
      this.#servingMs(this.#queue.tokens) / 2,
      { request_rows: count, room, limit },
    )
  }

  #overloaded(detail: string, retryAfterMs: number, figures: Readonly<Record<string, number>>): Problem {
    const retryAfter = Math.max(1, Math.ceil(retryAfterMs / 1000))
    return new Problem('overloaded', detail, {
      ...figures,
      waiting_rows: this.#queue.size,
      retry_after_s: retryAfter,
    })
  }

  /** Until an engine could begin a batch that is handed over now. */
  #freeInMs(now: number): number {
    return Math.min(...this.#lanes.map((lane) => lane.freeAt(now))) - now
  }

  /** Milliseconds that the engines take for tokens, in batches as large as they may be. */
  #servingMs(tokens: number): number {
    const { maxTokens } = this.options
    if (tokens <= maxTokens) return this.cost.batchMs(tokens)
    const batchMs = this.cost.batchMs(maxTokens)
    return Math.ceil(tokens / maxTokens / this.#lanes.length) * batchMs
  }

  /** Hands batches over at a time of the clock, or sooner if that is planned. */
  #plan(at: number): void {
    if (this.#planned) {
      if (this.#planned.at <= at) return
      this.#planned.cancel()
    }
    const cancel = this.clock.after(at - this.clock.now(), () => {
      this.#planned = undefined
      this.#lag.observe(Math.max(0, this.clock.now() - at))
      this.#pump()
    })
    this.#planned = { at, cancel }
  }

  #pump(): void {
    const now = this.clock.now()
    while (this.#queue.size > 0) {
      const lane = this.#nextLane()
      if (lane === undefined) return
      if (lane.opensAt > now) {
        if (lane.opensAt < Number.POSITIVE_INFINITY) this.#plan(lane.opensAt)
        return
      }
      const { maxTokens } = this.options
      const batchMs = this.cost.batchMs(Math.min(this.#queue.tokens, maxTokens))
      const answeredBy = lane.busy ? lane.freeAt(now) + batchMs + this.#lag.allowanceMs : now
      const { batch, late } = this.#queue.next(answeredBy, this.options)
      for (const row of late) this.#drop(row, now)
      if (batch.length > 0) void this.#run(lane, batch, now)
    }
  }

  /** The engine that takes a batch soonest; of those that would at once, the one that begins it soonest. */
  #nextLane(): Lane | undefined {
    const now = this.clock.now()
    const before = (a: Lane, b: Lane) =>
      Math.max(a.opensAt, now) - Math.max(b.opensAt, now) || a.freeAt(now) - b.freeAt(now)
    return this.#lanes.reduce<Lane | undefined>(
      (best, lane) => (best && before(best, lane) <= 0 ? best : lane),
      undefined,
    )
  }

  async #run(lane: Lane, batch: readonly QueuedRow[], begun: number): Promise<void> {
    const tokens = batch.reduce((sum, row) => sum + row.tokens, 0)
    lane.began(begun, this.cost.batchMs(tokens))
    try {
      const { rows, ...figures } = await lane.engine.run(batch.map((row) => row.engineRow))
      this.cost.observe({ tokens, ms: figures.runMs })
      this.#end(lane, false)
      batch.forEach((row, index) => {
        const result = rows[index]
        if (result) row.resolve(result)
        else row.reject(new Error('the engine left out a row'))
      })
      this.onBatch({
        ...figures,
        rows: batch.length,
        tasks: new Set(batch.map((row) => row.maskKey)).size,
        waitsMs: batch.map((row) => begun - row.since),
      })
    } catch (error) {
      this.#end(lane, true)
      for (const row of batch) row.reject(error as Error)
    }
  }

  /** The engine must not wait for the answers to be written. */
  #end(lane: Lane, failed: boolean): void {
    lane.ended(this.clock.now(), failed)
    this.#pump()
  }

  #drop(row: QueuedRow, now: number): void {
    this.onDropped('deadline', 1)
    const waited = Math.round(now - row.since)
    row.reject(
      new Problem('deadline_exceeded', `the request waited ${waited} ms and was not begun`, { waited_ms: waited }),
    )
  }

  #leave(rows: readonly QueuedRow[]): void {
    const gone = new Problem('client_closed_request', 'the client left before the request was computed')
    for (const row of rows) {
      if (!this.#queue.remove(row)) continue
      this.onDropped('cancelled', 1)
      row.reject(gone)
    }
  }
}

function loadOf({ row, cost = 0 }: Submission): Load {
  const tokens = row.inputIds.length
  return { tokens, cost: Math.max(tokens, cost) }
}
