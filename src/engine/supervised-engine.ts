// An engine that outlives its thread. A thread that ends, or returns no batch in time, is replaced by a new one. The batches
// that it had fail; until the new one has started the engine is not available, and batches wait elsewhere.

import { setTimeout as delay } from 'node:timers/promises'
import { Problem } from '../problem.js'
import { type BatchResult, Engine, type EngineOptions, type EngineRow } from './engine.js'
import { allEnded, leftBehind, mostLeftBehind } from './left-behind.js'
import { type SlotCounters, sumOf } from './slots.js'

export interface SupervisedOptions extends EngineOptions {
  /** How long a batch may run before its thread is given up, in milliseconds. */
  readonly runTimeoutMs: number
}

/** What the supervisor reports. */
export interface SupervisorReport {
  readonly lost: (reason: string) => void
  readonly replaced: (ms: number) => void
  /** A new thread did not start; another attempt follows after so many milliseconds. */
  readonly notReplaced: (reason: string, retryMs: number) => void
}

/** Between attempts to start a new thread: twice as long each time. In milliseconds. */
const firstRetryMs = 500
const longestRetryMs = 30_000

export class SupervisedEngine {
  /** Counters of the banks that are gone. */
  #former = sumOf([])
  #engine: Engine | undefined
  #replacing: Promise<void> | undefined
  readonly #closing = new AbortController()
  #atEngine = 0
  #watchdog: NodeJS.Timeout | undefined
  /** Called when a new thread has started after one was lost. */
  onAvailable: () => void = () => {}

  private constructor(
    /** The first one: what it found out about model and machine holds for its successors. */
    readonly first: Engine,
    readonly options: SupervisedOptions,
    readonly report: SupervisorReport,
  ) {
    this.#use(first)
  }

  /** @throws as Engine.start: a first thread that does not start is not tried again */
  static async start(options: SupervisedOptions, report: SupervisorReport): Promise<SupervisedEngine> {
    return new SupervisedEngine(await Engine.start(options), options, report)
  }

  /** Whether there is a thread that takes batches. */
  get available(): boolean {
    return this.#engine !== undefined
  }

  /** Counters of the bank, over all threads. */
  get bank(): Readonly<SlotCounters> {
    return this.#engine ? sumOf([this.#former, this.#engine.bank]) : this.#former
  }

  /**
   * Runs a batch.
   * @throws Problem `engine_lost` if the thread ends or is given up while it has the batch, or none is available; Error if
   *   a row of the batch cannot be computed
   */
  async run(rows: readonly EngineRow[]): Promise<BatchResult> {
    const engine = this.#engine
    if (engine === undefined) throw new Problem('engine_lost', 'the engine was lost, and a new one has not started yet')
    if (this.#atEngine++ === 0) this.#startWatchdog(engine)
    try {
      return await engine.run(rows)
    } finally {
      // Batches run one after another: the next one's time begins when one ends.
      clearTimeout(this.#watchdog)
      if (--this.#atEngine > 0 && engine === this.#engine) this.#startWatchdog(engine)
    }
  }

  /** Lets the batches that were sent finish, then ends the thread; waits for those that were given up, too. */
  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.all([this.#engine?.close(), this.#replacing])
    // A process cannot end before its threads.
    await allEnded()
  }

  #startWatchdog(engine: Engine): void {
    const { runTimeoutMs } = this.options
    this.#watchdog = setTimeout(
      () => engine.giveUp(`the engine returned no batch for ${runTimeoutMs} ms`),
      runTimeoutMs,
    ).unref()
  }

  #use(engine: Engine): void {
    this.#engine = engine
    engine.whenLost((reason) => {
      if (this.#closing.signal.aborted) return
      this.#engine = undefined
      this.#former = sumOf([this.#former, engine.bank])
      this.report.lost(reason)
      this.#replacing = this.#replace()
    })
  }

  async #replace(): Promise<void> {
    const since = performance.now()
    for (let retryMs = firstRetryMs; ; retryMs = Math.min(2 * retryMs, longestRetryMs)) {
      const engine = await this.#startAnother(retryMs)
      if (this.#closing.signal.aborted) return engine?.close()
      if (engine === undefined) continue
      this.report.replaced(performance.now() - since)
      this.#use(engine)
      this.onAvailable()
      return
    }
  }

  /** @returns undefined after a pause if it did not start, or if the engine is closed meanwhile */
  async #startAnother(retryMs: number): Promise<Engine | undefined> {
    const { signal } = this.#closing
    try {
      const threads = leftBehind()
      if (threads >= mostLeftBehind) throw new Error(`${threads} threads that were given up have not ended`)
      return await Engine.start(this.options)
    } catch (error) {
      this.report.notReplaced((error as Error).message, retryMs)
      await delay(retryMs, undefined, { signal, ref: false }).catch(() => {})
      return undefined
    }
  }
}
