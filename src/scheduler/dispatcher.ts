// The loop between queue and engines: whichever engine takes a batch gets the rows whose turn it is. Rows wait here, and
// nowhere else, until an engine takes them, their deadline comes, or their client leaves.

import type { BatchResult, EngineRow, RowResult } from '../engine/engine.js'
import { EngineLost } from '../engine/engine-lost.js'
import { Problem } from '../problem.js'
import { ActiveOwners } from './active-owners.js'
import { Admission, type Caller, type Demand, type Rejection } from './admission.js'
import { type BatchLimits, largestBatch, taskTokensOf } from './batch.js'
import { type Clock, realClock } from './clock.js'
import type { CostModel } from './cost.js'
import { EngineState, type Runner } from './engine-state.js'
import { type Feedback, FeedbackByTenant } from './feedback.js'
import type { Load, SchedulableRow } from './flows.js'
import { RowQueue } from './queue.js'
import { SuspectTexts } from './suspect-texts.js'

export interface DispatcherOptions extends BatchLimits {
  /** Rows that may wait; see roomFor. */
  readonly maxQueueRows: number
}

/** What the metrics need to know of each batch. */
export interface BatchReport extends Omit<BatchResult, 'rows'> {
  readonly rows: number
  readonly tasks: number
  /** How long each of its rows waited, in milliseconds. */
  readonly waitsMs: readonly number[]
}

/** Who asks, and until when. */
export interface SubmitOptions extends Caller {
  /** Aborted when nobody waits for the answer any more: rows that have not begun are taken out. */
  readonly signal?: AbortSignal
  /**
   * Called by submit(), before it returns, when the request is admitted and no row is in the queue yet: only then is the
   * work charged. It may throw to refuse the request.
   */
  readonly onAdmitted?: () => void
  /** Called when the server failed the request: the cost of its rows that no engine has begun is not charged. */
  readonly onRefund?: (cost: number) => void
}

export interface Submission {
  readonly task: string
  readonly row: EngineRow
  /** What the row is charged when turns are counted, in token equivalents. At least, and by default, its tokens. */
  readonly cost?: number
}

/** The request that a row belongs to. */
interface Request {
  /** One of its rows has failed, so that the others need not be computed. */
  failed: boolean
}

interface QueuedRow extends SchedulableRow {
  readonly request: Request
  readonly feedback: Feedback
  readonly engineRow: EngineRow
  readonly since: number
  /** How long the process had stood still by then. */
  readonly pausedMs: number
  /** An engine has computed it, or tried to. */
  begun: boolean
  readonly resolve: (result: RowResult) => void
  readonly reject: (error: Error) => void
}

type Rows = readonly QueuedRow[]

/** Of what a batch of one task may have: a row of more tokens is long. */
const longRowShare = 1.5
/**
 * While one tenant floods and others ask too, a batch takes at most so many milliseconds, for the others wait for it. It is
 * not shorter than this share of an efficient batch, so that most of the throughput is kept.
 */
const flood = { ms: 10, share: 0.25 }

export class Dispatcher {
  readonly #queue = new RowQueue<QueuedRow>()
  readonly #feedback = new FeedbackByTenant()
  readonly #activeOwners = new ActiveOwners()
  readonly #suspects = new SuspectTexts()
  readonly #engines: readonly EngineState[]
  readonly #admission: Admission
  #planned: { readonly at: number; readonly cancel: () => void } | undefined
  onBatch: (report: BatchReport) => void = () => {}
  onDropped: (reason: 'deadline' | 'cancelled', rows: number) => void = () => {}
  onRejected: (reason: Rejection) => void = () => {}
  /** Called when texts are refused from now on, because engines were lost with them. */
  onTextsRejected: (texts: number) => void = () => {}

  constructor(
    runners: readonly Runner[],
    readonly options: DispatcherOptions,
    readonly cost: CostModel,
    readonly clock: Clock = realClock,
  ) {
    this.#engines = runners.map((runner) => new EngineState(runner))
    const limits = () => this.#queue.limitsNow(this.#limits(clock.now()))
    this.#admission = new Admission(this.#queue, this.#engines, options.maxQueueRows, limits, cost, clock)
    this.#admission.onRejected = (reason) => this.onRejected(reason)
    for (const runner of runners) runner.onAvailable = () => this.#pump()
  }

  get queuedRows(): number {
    return this.#queue.size
  }

  /** Nothing waits and nothing runs. */
  get idle(): boolean {
    return this.#queue.size === 0 && this.#engines.every(({ busy }) => !busy)
  }

  /** How long all that waits now will take, in milliseconds. */
  get estimatedWaitMs(): number {
    return this.#queue.size === 0 ? 0 : this.#admission.estimateMs(this.#queue.tokens)
  }

  /** How long the row has been waiting that waits longest, in milliseconds. */
  get oldestMs(): number {
    const oldest = this.#queue.oldest
    return oldest === undefined ? 0 : this.clock.now() - oldest.since
  }

  /**
   * Refuses what could not be answered in time. It can be asked before a request has been read, or before its texts are
   * tokenised, with the least that it may need.
   * @throws Problem `overloaded`, `deadline_exceeded`
   */
  check(caller: Caller, demand: Demand): void {
    this.#admission.admit(caller, demand, this.#feedback.of(caller.tenant))
  }

  /**
   * Runs rows, in whatever batches come to be, and answers in their order.
   * @throws Problem `overloaded` or `deadline_exceeded` at once if they would not be answered before the deadline, or if
   *   there is no room for them; `text_fails_engines`; whatever `onAdmitted` throws; later `deadline_exceeded` if it took
   *   longer than estimated, `engine_lost`, `client_closed_request`; Error if a row cannot be computed
   */
  async submit(submissions: readonly Submission[], order: SubmitOptions): Promise<RowResult[]> {
    const { tenant, weight, deadline, signal } = order
    if (signal?.aborted) {
      this.onDropped('cancelled', submissions.length)
      throw clientLeft()
    }
    if (submissions.some(({ row }) => this.#suspects.isRejected(row))) {
      this.onRejected('text')
      throw failsEngines()
    }
    const feedback = this.#feedback.of(tenant)
    const estimatedMs = this.#admission.admit(order, demandOf(submissions), feedback)
    order.onAdmitted?.()
    const since = this.clock.now()
    const pausedMs = this.clock.pausedMs()
    this.#activeOwners.record(tenant, since)
    // A late process writes answers late: rows should be there that much earlier. Half of the time is left to them.
    const early = Math.min(feedback.lag.allowanceMs, Math.max(0, deadline - since) / 2)
    const request: Request = { failed: false }
    const rows: QueuedRow[] = []
    const results = submissions.map(
      (submission) =>
        new Promise<RowResult>((resolve, reject) => {
          const { task, row: engineRow } = submission
          const { maskKey } = engineRow
          const { tokens, cost } = loadOf(submission)
          const waiting = { tenant, weight, task, maskKey, tokens, cost, deadline: deadline - early }
          rows.push({ ...waiting, request, feedback, engineRow, since, pausedMs, begun: false, resolve, reject })
        }),
    )
    for (const row of rows) this.#queue.add(row)
    const leave = () => this.#leave(rows)
    signal?.addEventListener('abort', leave, { once: true })
    // Requests that arrive in the same turn of the event loop meet in the first batch.
    this.#plan(since)
    // A pause of the process says nothing about estimates.
    const waited = () => this.clock.now() - since - (this.clock.pausedMs() - pausedMs)
    try {
      const answers = await Promise.all(results)
      if (estimatedMs !== undefined) feedback.calibration.learn(estimatedMs, waited())
      return answers
    } catch (error) {
      const late = error instanceof Problem && error.code === 'deadline_exceeded'
      if (late && estimatedMs !== undefined) feedback.calibration.learnLate(estimatedMs, waited())
      // If one row fails, its request fails: the other rows need not be computed.
      for (const row of rows) this.#queue.remove(row)
      const left = error instanceof Problem && error.code === 'client_closed_request'
      if (!left) order.onRefund?.(rows.reduce((sum, { begun, cost }) => sum + (begun ? 0 : cost), 0))
      throw error
    } finally {
      signal?.removeEventListener('abort', leave)
    }
  }

  /** Wakes up at a time of the clock, or earlier if that is planned. */
  #plan(at: number): void {
    if (at === Number.POSITIVE_INFINITY) return
    if (this.#planned !== undefined) {
      if (this.#planned.at <= at) return
      this.#planned.cancel()
    }
    const pausedMs = this.clock.pausedMs()
    const cancel = this.clock.after(at - this.clock.now(), () => {
      this.#planned = undefined
      const pauseMs = this.clock.pausedMs() - pausedMs
      this.#pump(Math.max(0, this.clock.now() - at - pauseMs))
    })
    this.#planned = { at, cancel }
  }

  /**
   * Drops what is late, hands batches to the engines that take one, and plans when to look again.
   * @param lagMs how late this was called, if it was planned
   */
  #pump(lagMs?: number): void {
    const now = this.clock.now()
    for (const row of this.#queue.takeExpired(now)) this.#drop(row, now)
    while (this.#queue.size > 0) {
      const open = this.#engines
        .filter(({ acceptsAt }) => acceptsAt <= now)
        .sort((a, b) => a.freeAt(now) - b.freeAt(now))
      if (open.some((engine) => this.#send(engine, now, lagMs))) continue
      const opening = this.#engines.map(({ acceptsAt }) => (acceptsAt > now ? acceptsAt : Number.POSITIVE_INFINITY))
      this.#plan(Math.min(...opening, this.#queue.earliestDeadline))
      return
    }
    this.#planned?.cancel()
    this.#planned = undefined
  }

  /** Hands the next batch over to an engine that takes one. @returns whether there is one for it */
  #send(engine: EngineState, now: number, lagMs: number | undefined): boolean {
    const limits = this.#limits(now)
    const most = largestBatch(this.#queue.limitsNow(limits), this.#queue.tasks)
    const batchMs = this.cost.batchMs(Math.min(this.#queue.tokens, most))
    const answeredBy = engine.busy ? engine.freeAt(now) + batchMs : now
    const { batch, late } = this.#queue.next(answeredBy, this.#limitsFor(engine, limits))
    for (const row of late) this.#drop(row, now)
    if (batch.length === 0) return false
    if (lagMs !== undefined) for (const { lag } of new Set(batch.map((row) => row.feedback))) lag.observe(lagMs)
    void this.#run(engine, batch)
    return true
  }

  /** While several tenants are active, one engine is kept from long rows: a short row never waits for them on all engines. */
  #limitsFor(engine: EngineState, limits: BatchLimits): BatchLimits {
    if (limits.floodTokens === undefined) return limits
    const others = this.#engines.filter((other) => other !== engine && other.runner.available)
    const isLast = others.length > 0 && others.every(({ hasLongBatch }) => hasLongBatch)
    return isLast ? { ...limits, maxLeaderTokens: this.#longRow } : limits
  }

  /** While several tenants are active, batches are short as soon as one of them floods. */
  #limits(now: number): BatchLimits {
    if (!this.#activeOwners.hasSeveral(now)) return this.options
    const least = Math.ceil(flood.share * taskTokensOf(this.options))
    return { ...this.options, floodTokens: Math.max(least, this.cost.tokensWithin(flood.ms)) }
  }

  /** Tokens beyond which a row is long: others notice that they wait for it. */
  get #longRow(): number {
    return longRowShare * taskTokensOf(this.options)
  }

  /**
   * Runs a batch. If the engine cannot compute it, its halves are run, one after the other, until the rows at fault are
   * alone: at most 2n - 1 runs for n rows. Texts that an engine was lost with run alone from the start. Between two parts the
   * engine takes other batches.
   */
  async #run(engine: EngineState, batch: Rows): Promise<void> {
    const suspects = batch.filter(({ engineRow }) => this.#suspects.isSuspect(engineRow))
    const others = suspects.length === 0 ? batch : batch.filter((row) => !suspects.includes(row))
    const parts: Rows[] = [...suspects.map((row) => [row]), others]
    let whole = true
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
      const rows = this.#stillWanted(part)
      if (rows.length === 0) continue
      const running = this.#runOnce(engine, rows)
      // The whole batch is sent by #pump itself.
      if (!whole) this.#pump()
      whole = false
      const fault = await running
      if (fault === undefined) continue
      const middle = rows.length >> 1
      if (rows.length > 1) parts.push(rows.slice(middle), rows.slice(0, middle))
      else for (const row of rows) fail(row, fault)
    }
    this.#pump()
  }

  /** @returns the error if the engine could not compute the rows and at least one of them is at fault */
  async #runOnce(engine: EngineState, rows: Rows): Promise<Error | undefined> {
    const begun = this.clock.now()
    const pausedMs = this.clock.pausedMs()
    const tokens = rows.reduce((sum, row) => sum + row.tokens, 0)
    const longest = rows.reduce((most, row) => Math.max(most, row.tokens), 0)
    engine.batchSent(begun, this.cost.batchMs(tokens), longest > this.#longRow)
    for (const row of rows) row.begun = true
    try {
      const { rows: results, ...figures } = await engine.runner.run(rows.map((row) => row.engineRow))
      engine.batchEnded(this.clock.now(), 'answered')
      if (this.clock.pausedMs() === pausedMs) this.cost.observe({ tokens, ms: figures.runMs })
      for (const { engineRow } of rows) this.#suspects.clear(engineRow)
      rows.forEach((row, index) => {
        const result = results[index]
        if (result) row.resolve(result)
        else fail(row, new Error('the engine left out a row'))
      })
      this.onBatch({
        ...figures,
        rows: rows.length,
        tasks: new Set(rows.map((row) => row.maskKey)).size,
        waitsMs: rows.map((row) => begun - row.since),
      })
      return undefined
    } catch (error) {
      const lost = error instanceof EngineLost
      engine.batchEnded(this.clock.now(), lost ? 'engine_lost' : 'row_failed')
      if (!lost) return error as Error
      if (error.begun) {
        const refused = this.#suspects.lost(rows.map(({ engineRow }) => engineRow))
        if (refused > 0) this.onTextsRejected(refused)
      }
      for (const row of rows) fail(row, error)
      return undefined
    }
  }

  /** Rows of requests that have not failed. Those whose deadline has come are dropped, and texts that are refused fail. */
  #stillWanted(rows: Rows): Rows {
    const now = this.clock.now()
    const wanted = rows.filter((row) => {
      if (row.request.failed) return false
      if (this.#suspects.isRejected(row.engineRow)) fail(row, failsEngines())
      else if (row.deadline > now) return true
      else this.#drop(row, now)
      return false
    })
    return wanted.length === rows.length ? rows : wanted
  }

  #drop(row: QueuedRow, now: number): void {
    this.onDropped('deadline', 1)
    const pauseMs = Math.round(this.clock.pausedMs() - row.pausedMs)
    const figures = { waited_ms: Math.round(now - row.since), ...(pauseMs > 0 && { paused_ms: pauseMs }) }
    const paused = pauseMs > 0 ? `, of which the server stood still for ${pauseMs} ms,` : ''
    const waited = `the request waited ${figures.waited_ms} ms${paused}`
    fail(
      row,
      this.#engines.some(({ runner }) => runner.available)
        ? new Problem('deadline_exceeded', `${waited} and was not begun`, figures)
        : new Problem('engine_lost', `${waited}, and no engine is available: a new one is being started`, figures),
    )
  }

  #leave(rows: Rows): void {
    for (const row of rows) {
      if (!this.#queue.remove(row)) continue
      this.onDropped('cancelled', 1)
      fail(row, clientLeft())
    }
  }
}

/** Fails a row, and with it its request. */
function fail({ request, reject }: QueuedRow, error: Error): void {
  request.failed = true
  reject(error)
}

const failsEngines = (): Problem =>
  new Problem(
    'text_fails_engines',
    'two engines were lost while they computed a text of the request; it is refused for now',
  )

const clientLeft = (): Problem =>
  new Problem('client_closed_request', 'the client left before the request was computed')

function loadOf({ row, cost = 0 }: Submission): Load {
  const tokens = row.inputIds.length
  // A turn that is no number would never come.
  return { tokens, cost: Number.isFinite(cost) ? Math.max(tokens, cost) : tokens }
}

function demandOf(submissions: readonly Submission[]): Demand {
  const byTask = new Map<string, { tokens: number; cost: number }>()
  for (const submission of submissions) {
    const { tokens, cost } = loadOf(submission)
    const sum = byTask.get(submission.task) ?? { tokens: 0, cost: 0 }
    byTask.set(submission.task, { tokens: sum.tokens + tokens, cost: sum.cost + cost })
  }
  return { rows: submissions.length, byTask }
}
