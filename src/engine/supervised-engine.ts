// An engine that survives the loss of its thread. A thread that ends, or returns no batch in time, is replaced. Its batches
// fail. Until the new thread has started the engine is unavailable, and rows wait in the scheduler.

import { setTimeout as delay } from 'node:timers/promises'
import { afterRunning, within } from '../running-time.js'
import {
  allAbandonedThreadsEnded,
  anyAbandonedThreadEnded,
  type EngineMemory,
  startObstacle,
} from './abandoned-threads.js'
import { type BatchResult, closeTimeoutMs, Engine, type EngineOptions, type EngineRow } from './engine.js'
import { EngineLost, type Loss } from './engine-lost.js'
import { type SlotCounters, sumOf } from './slots.js'

export interface SupervisedOptions extends EngineOptions {
  /** How long a batch may run before its thread is abandoned, in milliseconds. */
  readonly runTimeoutMs: number
}

/** Why a lost engine was not replaced: the start failed (start_failed), or abandoned threads prevent it (left_behind). */
export const notReplacedCauses = ['start_failed', 'left_behind'] as const
export type NotReplacedCause = (typeof notReplacedCauses)[number]

/** Receives the events of a supervised engine. */
export interface SupervisorReport {
  readonly lost: (loss: Loss) => void
  readonly replaced: (ms: number) => void
  /** No new thread was started. The next attempt follows after at most `retryMs` milliseconds. */
  readonly notReplaced: (cause: NotReplacedCause, reason: string, retryMs: number) => void
}

/** Why an engine takes no batches: why it was lost, and why it is not replaced yet. */
export interface Outage extends Loss {
  readonly notReplaced: { readonly cause: NotReplacedCause; readonly reason: string } | undefined
}

/** Pause between attempts to start a new thread, in milliseconds. It doubles each time. */
const firstRetryMs = 500
const longestRetryMs = 30_000

/** How long to wait for a failed thread to end by itself before a new one is started, in milliseconds. */
const endsWithinMs = 2_000

export class SupervisedEngine {
  /** Sum of the counters of former banks. */
  #former = sumOf([])
  #engine: Engine | undefined
  #outage: Outage | undefined
  readonly #closing = new AbortController()
  #atEngine = 0
  #stopWatchdog = () => {}
  /** Called when a new thread has started after one was lost. */
  onAvailable: () => void = () => {}
  /** Called when `outage` has changed. */
  onOutageChange: () => void = () => {}

  private constructor(
    /** The first engine. Its provider choice and timings also apply to its successors. */
    readonly first: Engine,
    readonly options: SupervisedOptions,
    readonly report: SupervisorReport,
    readonly memory: EngineMemory,
  ) {
    this.#use(first)
  }

  /** @throws the same errors as Engine.start; the first start is not retried */
  static async start(
    options: SupervisedOptions,
    report: SupervisorReport,
    memory: EngineMemory = { limitBytes: Number.POSITIVE_INFINITY, engineBytes: 0 },
  ): Promise<SupervisedEngine> {
    return new SupervisedEngine(await Engine.start(options), options, report, memory)
  }

  /** Whether a thread takes batches. */
  get available(): boolean {
    return this.#engine !== undefined
  }

  /** Undefined while a thread takes batches. */
  get outage(): Outage | undefined {
    return this.#outage
  }

  /** Counters of the bank, summed over all threads so far. */
  get bank(): Readonly<SlotCounters> {
    return this.#engine ? sumOf([this.#former, this.#engine.bank]) : this.#former
  }

  /**
   * Runs a batch.
   * @throws EngineLost if the thread ends or is abandoned while it has the batch, or if no thread is available; Error if a
   *   row of the batch cannot be computed
   */
  async run(rows: readonly EngineRow[]): Promise<BatchResult> {
    const engine = this.#engine
    if (engine === undefined) {
      const cause = this.#outage?.cause ?? 'failed'
      throw new EngineLost({ cause, reason: 'the engine was lost, and its replacement has not started yet' }, false)
    }
    if (this.#atEngine++ === 0) this.#startWatchdog(engine)
    try {
      return await engine.run(rows)
    } finally {
      // Batches run one after another, so the time of the next batch starts when this one ends.
      this.#stopWatchdog()
      if (--this.#atEngine > 0 && engine === this.#engine) this.#startWatchdog(engine)
    }
  }

  /**
   * Lets the batches that were sent finish, ends the thread, and waits for abandoned threads. A thread that hangs cannot be
   * ended: after the timeout it is left until the process ends.
   */
  async close(withinMs = closeTimeoutMs): Promise<void> {
    const until = performance.now() + withinMs
    this.#closing.abort()
    await this.#engine?.close(withinMs)
    // The process cannot exit before its threads have ended.
    await allAbandonedThreadsEnded(Math.max(0, until - performance.now()))
  }

  #startWatchdog(engine: Engine): void {
    const { runTimeoutMs } = this.options
    this.#stopWatchdog = afterRunning(runTimeoutMs, () =>
      engine.abandon(`the engine returned no batch for ${runTimeoutMs} ms`),
    )
  }

  #use(engine: Engine): void {
    this.#engine = engine
    this.#setOutage(undefined)
    engine.whenLost((loss) => {
      if (this.#closing.signal.aborted) return
      this.#engine = undefined
      this.#former = sumOf([this.#former, engine.bank])
      this.report.lost(loss)
      this.#setOutage({ ...loss, notReplaced: undefined })
      void this.#replace(engine, loss)
    })
  }

  #setOutage(outage: Outage | undefined): void {
    this.#outage = outage
    this.onOutageChange()
  }

  async #replace(lost: Engine, loss: Loss): Promise<void> {
    const { signal } = this.#closing
    const since = performance.now()
    // Once the thread has ended, its memory is free for the new one.
    if (loss.cause !== 'hung') await within(endsWithinMs, lost.ended, signal)
    for (let retryMs = firstRetryMs; !signal.aborted; retryMs = Math.min(2 * retryMs, longestRetryMs)) {
      const engine = await this.#startAnother(loss, retryMs)
      if (engine === undefined) continue
      if (signal.aborted) return engine.abandon('the engine was closed while it was starting')
      this.report.replaced(performance.now() - since)
      this.#use(engine)
      this.onAvailable()
      return
    }
  }

  /** @returns undefined after a pause, if no engine was started or if this engine is being closed */
  async #startAnother(loss: Loss, retryMs: number): Promise<Engine | undefined> {
    const { signal } = this.#closing
    const blocked = startObstacle(this.memory)
    try {
      if (blocked === undefined) return await Engine.start(this.options, signal)
    } catch (error) {
      if (signal.aborted) return undefined
      this.#notReplaced(loss, 'start_failed', (error as Error).message, retryMs)
    }
    if (blocked !== undefined) this.#notReplaced(loss, 'left_behind', blocked, retryMs)
    const pause = delay(retryMs, undefined, { signal, ref: false }).catch(() => {})
    await (blocked === undefined ? pause : Promise.race([pause, anyAbandonedThreadEnded()]))
    return undefined
  }

  #notReplaced(loss: Loss, cause: NotReplacedCause, reason: string, retryMs: number): void {
    this.report.notReplaced(cause, reason, retryMs)
    this.#setOutage({ ...loss, notReplaced: { cause, reason } })
  }
}
