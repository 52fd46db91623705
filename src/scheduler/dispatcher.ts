// The loop between queue and engines: when an engine can take a batch, it gets the rows whose turn it is. Rows wait only
// here. They leave when an engine takes them, their deadline passes, or their client disconnects.

import { ActiveOwners } from '../costs/active-owners.js'
import type { RowResult } from '../engine/engine.js'
import { Problem } from '../problem.js'
import { Admission, type Caller, type Demand, type Rejection } from './admission.js'
import { type BatchLimits, largestBatch, taskTokensOf } from './batch.js'
import { type BatchReport, BatchRunner } from './batch-runner.js'
import { type Clock, realClock } from './clock.js'
import type { CostModel } from './cost.js'
import { EngineState, type Runner } from './engine-state.js'
import { FeedbackByTenant } from './feedback.js'
import { RowQueue } from './queue.js'
import { clientDisconnected, PendingRequest, type QueuedRow, textFailsEngines } from './queued-row.js'
import { demandOf, loadOf, type Submission, type SubmitOptions } from './submission.js'

export interface DispatcherOptions extends BatchLimits {
  /** Most rows that may wait; see roomFor. */
  readonly maxQueueRows: number
}

/** A row is long if it has more tokens than this multiple of a task's share of a batch. */
const longRowFactor = 1.5
/**
 * While one tenant floods and others are active too, a batch takes at most `ms` milliseconds, because the others wait for
 * it. It keeps at least this share of the tokens of an efficient batch, so that most of the throughput is kept.
 */
const flood = { ms: 10, share: 0.25 }

export class Dispatcher {
  readonly #queue: RowQueue<QueuedRow>
  readonly #feedback = new FeedbackByTenant()
  readonly #activeTenants = new ActiveOwners()
  readonly #engines: readonly EngineState[]
  readonly #admission: Admission
  readonly #runner: BatchRunner
  #planned: { readonly at: number; readonly cancel: () => void } | undefined
  onBatch: (report: BatchReport) => void = () => {}
  onDropped: (reason: 'deadline' | 'cancelled', rows: number) => void = () => {}
  onRejected: (reason: Rejection) => void = () => {}
  /** Called with the number of texts that are rejected from now on, because engines were lost with them. */
  onTextsRejected: (texts: number) => void = () => {}

  constructor(
    runners: readonly Runner[],
    readonly options: DispatcherOptions,
    readonly cost: CostModel,
    readonly clock: Clock = realClock,
  ) {
    this.#queue = new RowQueue(options)
    this.#engines = runners.map((runner) => new EngineState(runner))
    const limits = () => this.#queue.limitsNow(this.#limits(clock.now()))
    this.#admission = new Admission(this.#queue, this.#engines, options.maxQueueRows, limits, cost, clock)
    this.#admission.onRejected = (reason) => this.onRejected(reason)
    this.#runner = new BatchRunner({
      cost,
      clock,
      longRowTokens: this.#longRowTokens,
      drop: (row) => this.#drop(row, clock.now()),
      onFree: () => this.#pump(),
    })
    this.#runner.onBatch = (report) => this.onBatch(report)
    this.#runner.onTextsRejected = (texts) => this.onTextsRejected(texts)
    for (const runner of runners) runner.onAvailable = () => this.#pump()
  }

  get queuedRows(): number {
    return this.#queue.size
  }

  /** Whether nothing waits and nothing runs. */
  get idle(): boolean {
    return this.#queue.size === 0 && this.#engines.every(({ busy }) => !busy)
  }

  /** Estimated time until all waiting rows are computed, in milliseconds. */
  get estimatedWaitMs(): number {
    return this.#queue.size === 0 ? 0 : this.#admission.estimateMs(this.#queue.tokens)
  }

  /** How long the oldest row has waited, in milliseconds. */
  get oldestMs(): number {
    const oldest = this.#queue.oldest
    return oldest === undefined ? 0 : this.clock.now() - oldest.since
  }

  /**
   * Rejects a request that would miss its deadline. Callers use it with the least possible demand before a request is read
   * or its texts are tokenised.
   * @throws Problem `overloaded`, `deadline_exceeded`
   */
  check(caller: Caller, demand: Demand): void {
    this.#admission.admit(caller, demand, this.#feedback.of(caller.tenant))
  }

  /**
   * Runs rows, which may be spread over several batches. The results are in the order of the rows.
   * @throws Problem `overloaded` or `deadline_exceeded` at once, if the rows would miss their deadline or find no room;
   *   `text_fails_engines`; whatever `onAdmitted` throws; later `deadline_exceeded` if the estimate was too low,
   *   `engine_lost` or `client_closed_request`; Error if a row cannot be computed
   */
  async submit(submissions: readonly Submission[], options: SubmitOptions): Promise<RowResult[]> {
    const { tenant, weight, deadline, signal } = options
    if (signal?.aborted) {
      this.onDropped('cancelled', submissions.length)
      throw clientDisconnected()
    }
    if (submissions.some(({ row }) => this.#runner.rejects({ engineRow: row }))) {
      this.onRejected('text')
      throw textFailsEngines()
    }
    const feedback = this.#feedback.of(tenant)
    const estimatedMs = this.#admission.admit(options, demandOf(submissions), feedback)
    options.onAdmitted?.()
    const since = this.clock.now()
    const pausedMs = this.clock.pausedMs()
    if (!options.background) this.#activeTenants.record(tenant, since)
    // A late event loop writes responses late. Results are due earlier by that much, but by at most half of the time left.
    const early = Math.min(feedback.lag.allowanceMs, Math.max(0, deadline - since) / 2)
    const request = new PendingRequest(submissions.length)
    // An object literal with all properties is much faster than one that spreads others.
    const rows = submissions.map((submission, index): QueuedRow => {
      const { task, row: engineRow } = submission
      const { tokens, cost } = loadOf(submission)
      return {
        tenant,
        weight,
        task,
        maskKey: engineRow.maskKey,
        tokens,
        cost,
        deadline: deadline - early,
        request,
        index,
        feedback,
        engineRow,
        since,
        pausedMs,
        started: false,
      }
    })
    for (const row of rows) this.#queue.add(row)
    const cancel = () => this.#cancel(rows, signal?.reason)
    signal?.addEventListener('abort', cancel, { once: true })
    // Requests that arrive in the same turn of the event loop share the first batch.
    this.#plan(since)
    // Pauses of the process say nothing about the estimate.
    const waited = () => this.clock.now() - since - (this.clock.pausedMs() - pausedMs)
    try {
      const computed = await request.results
      if (estimatedMs !== undefined) feedback.calibration.learn(estimatedMs, waited())
      return computed
    } catch (error) {
      const late = error instanceof Problem && error.code === 'deadline_exceeded'
      if (late && estimatedMs !== undefined) feedback.calibration.learnLate(estimatedMs, waited())
      // One failed row fails the request, so its other rows need not be computed.
      for (const row of rows) this.#queue.remove(row)
      const cancelled = error instanceof Problem && error.code === 'client_closed_request'
      if (!cancelled) options.onRefund?.(rows.reduce((sum, { started, cost }) => sum + (started ? 0 : cost), 0))
      throw error
    } finally {
      signal?.removeEventListener('abort', cancel)
    }
  }

  /** Plans the next #pump for a time of the clock, unless an earlier one is planned. */
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
   * Drops late rows, sends batches to the engines that can take one, and plans when to look again.
   * @param lagMs how late this call is, if it was planned
   */
  #pump(lagMs?: number): void {
    const now = this.clock.now()
    for (const row of this.#queue.takeExpired(now)) this.#drop(row, now)
    while (this.#queue.size > 0) {
      const free = this.#engines
        .filter(({ acceptsAt }) => acceptsAt <= now)
        .sort((a, b) => a.freeAt(now) - b.freeAt(now))
      if (free.some((engine) => this.#send(engine, now, lagMs))) continue
      const later = this.#engines.map(({ acceptsAt }) => (acceptsAt > now ? acceptsAt : Number.POSITIVE_INFINITY))
      this.#plan(Math.min(...later, this.#queue.earliestDeadline))
      return
    }
    this.#planned?.cancel()
    this.#planned = undefined
  }

  /** Sends the next batch to an engine. @returns whether there was one */
  #send(engine: EngineState, now: number, lagMs: number | undefined): boolean {
    const limits = this.#limits(now)
    const most = largestBatch(this.#queue.limitsNow(limits), this.#queue.tasks)
    const batchMs = this.cost.batchMs(Math.min(this.#queue.tokens, most))
    const endsAt = engine.busy ? engine.freeAt(now) + batchMs : now
    const { batch, late } = this.#queue.next(endsAt, this.#limitsFor(engine, limits))
    for (const row of late) this.#drop(row, now)
    if (batch.length === 0) return false
    if (lagMs !== undefined) for (const { lag } of new Set(batch.map((row) => row.feedback))) lag.observe(lagMs)
    void this.#runner.run(engine, batch)
    return true
  }

  /**
   * While several tenants are active, one engine takes no batch that is led by a long row, so that a short row never waits
   * for long rows on all engines.
   */
  #limitsFor(engine: EngineState, limits: BatchLimits): BatchLimits {
    if (limits.floodTokens === undefined) return limits
    const others = this.#engines.filter((other) => other !== engine && other.runner.available)
    const isLast = others.length > 0 && others.every(({ hasLongBatch }) => hasLongBatch)
    return isLast ? { ...limits, maxLeaderTokens: this.#longRowTokens } : limits
  }

  /** While several tenants are active, batches become short as soon as one of the tenants floods. */
  #limits(now: number): BatchLimits {
    if (!this.#activeTenants.hasSeveral(now)) return this.options
    const least = Math.ceil(flood.share * taskTokensOf(this.options))
    return { ...this.options, floodTokens: Math.max(least, this.cost.tokensWithin(flood.ms)) }
  }

  get #longRowTokens(): number {
    return longRowFactor * taskTokensOf(this.options)
  }

  #drop(row: QueuedRow, now: number): void {
    this.onDropped('deadline', 1)
    const pauseMs = Math.round(this.clock.pausedMs() - row.pausedMs)
    const figures = { waited_ms: Math.round(now - row.since), ...(pauseMs > 0 && { paused_ms: pauseMs }) }
    const paused = pauseMs > 0 ? ` (the server was paused for ${pauseMs} ms of it)` : ''
    const waited = `the request waited ${figures.waited_ms} ms${paused}`
    row.request.fail(
      this.#engines.some(({ runner }) => runner.available)
        ? new Problem('deadline_exceeded', `${waited}, and its deadline passed before it ran`, figures)
        : new Problem('engine_lost', `${waited}, but no engine is available; a new one is starting`, figures),
    )
  }

  #cancel(rows: readonly QueuedRow[], reason: unknown): void {
    for (const row of rows) {
      if (!this.#queue.remove(row)) continue
      this.onDropped('cancelled', 1)
      row.request.fail(reason instanceof Problem ? reason : clientDisconnected())
    }
  }
}
