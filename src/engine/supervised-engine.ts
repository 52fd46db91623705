// An engine that outlives its thread. A thread that ends, or returns no batch in time, is replaced by a new one. The batches
// that it had fail; until the new one has started the engine is not available, and batches wait elsewhere.

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
  /** How long a batch may run before its thread is given up, in milliseconds. */
  readonly runTimeoutMs: number
}

/** Why a new engine did not start: its start failed, or it is not tried beside the threads that are left behind. */
export const notReplacedCauses = ['start_failed', 'left_behind'] as const
export type NotReplacedCause = (typeof notReplacedCauses)[number]

/** What the supervisor reports. */
export interface SupervisorReport {
  readonly lost: (loss: Loss) => void
  readonly replaced: (ms: number) => void
  /** There is no new thread; another attempt follows after so many milliseconds at most. */
  readonly notReplaced: (cause: NotReplacedCause, reason: string, retryMs: number) => void
}

/** An engine that takes no batches: why it was lost, and why there is no new one yet. */
export interface Outage extends Loss {
  readonly notReplaced: { readonly cause: NotReplacedCause; readonly reason: string } | undefined
}

/** Between attempts to start a new thread: twice as long each time. In milliseconds. */
const firstRetryMs = 500
const longestRetryMs = 30_000

/** A thread that failed ends by itself; a new one is not kept waiting for it for longer, in milliseconds. */
const endsWithinMs = 2_000

export class SupervisedEngine {
  /** Counters of the banks that are gone. */
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
    /** The first one: what it found out about model and machine holds for its successors. */
    readonly first: Engine,
    readonly options: SupervisedOptions,
    readonly report: SupervisorReport,
    readonly memory: EngineMemory,
  ) {
    this.#use(first)
  }

  /** @throws as Engine.start: a first thread that does not start is not tried again */
  static async start(
    options: SupervisedOptions,
    report: SupervisorReport,
    memory: EngineMemory = { limitBytes: Number.POSITIVE_INFINITY, engineBytes: 0 },
  ): Promise<SupervisedEngine> {
    return new SupervisedEngine(await Engine.start(options), options, report, memory)
  }

  /** Whether there is a thread that takes batches. */
  get available(): boolean {
    return this.#engine !== undefined
  }

  /** Undefined while there is a thread that takes batches. */
  get outage(): Outage | undefined {
    return this.#outage
  }

  /** Counters of the bank, over all threads. */
  get bank(): Readonly<SlotCounters> {
    return this.#engine ? sumOf([this.#former, this.#engine.bank]) : this.#former
  }

  /**
   * Runs a batch.
   * @throws EngineLost if the thread ends or is given up while it has the batch, or none is available; Error if a row of the
   *   batch cannot be computed
   */
  async run(rows: readonly EngineRow[]): Promise<BatchResult> {
    const engine = this.#engine
    if (engine === undefined) {
      const cause = this.#outage?.cause ?? 'failed'
      throw new EngineLost({ cause, reason: 'the engine was lost, and a new one has not started yet' }, false)
    }
    if (this.#atEngine++ === 0) this.#startWatchdog(engine)
    try {
      return await engine.run(rows)
    } finally {
      // Batches run one after another: the next one's time begins when one ends.
      this.#stopWatchdog()
      if (--this.#atEngine > 0 && engine === this.#engine) this.#startWatchdog(engine)
    }
  }

  /**
   * Lets the batches that were sent finish, then ends the thread, and waits for those that were left behind. A thread that
   * hangs cannot be ended: after so many milliseconds it is left to the end of the process.
   */
  async close(withinMs = closeTimeoutMs): Promise<void> {
    const until = performance.now() + withinMs
    this.#closing.abort()
    await this.#engine?.close(withinMs)
    // A process cannot end before its threads.
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
    // Its memory is free for the new one then.
    if (loss.cause !== 'hung') await within(endsWithinMs, lost.ended, signal)
    for (let retryMs = firstRetryMs; !signal.aborted; retryMs = Math.min(2 * retryMs, longestRetryMs)) {
      const engine = await this.#startAnother(loss, retryMs)
      if (engine === undefined) continue
      if (signal.aborted) return engine.abandon('the engine was closed while it started')
      this.report.replaced(performance.now() - since)
      this.#use(engine)
      this.onAvailable()
      return
    }
  }

  /** @returns undefined after a pause if it did not start, or if the engine is closed meanwhile */
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
