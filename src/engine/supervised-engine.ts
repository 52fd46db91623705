// An engine that outlives its thread. A thread that ends, or gives back no batch in time, is replaced by a new one; the
// batches that it had fail, and those that come meanwhile wait for the new one.

import { Problem } from '../problem.js'
import { type BatchResult, Engine, type EngineOptions, type EngineRow } from './engine.js'
import { type SlotCounters, sumOf } from './slots.js'

export interface SupervisedOptions extends EngineOptions {
  /** How long a batch may run before its thread is given up, in milliseconds. */
  readonly runTimeoutMs: number
}

/** What the supervisor has to tell. */
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
  /** The engine, or the one to come. It is rejected while attempts fail. */
  #current: Promise<Engine>
  #engine: Engine | undefined
  /** Threads that were given up and have not ended yet: a process cannot end before them. */
  readonly #leaving = new Set<Engine>()
  #closing = false
  #atEngine = 0
  #watchdog: NodeJS.Timeout | undefined

  private constructor(
    /** The first one: what it found out about model and machine holds for its successors. */
    readonly first: Engine,
    readonly options: SupervisedOptions,
    readonly report: SupervisorReport,
  ) {
    this.#engine = first
    this.#current = Promise.resolve(first)
    this.#watch(first)
  }

  /** @throws as Engine.start: a first thread that does not start is not tried again */
  static async start(options: SupervisedOptions, report: SupervisorReport): Promise<SupervisedEngine> {
    return new SupervisedEngine(await Engine.start(options), options, report)
  }

  /** Whether there is a thread that answers, as far as is known. */
  get available(): boolean {
    return this.#engine !== undefined
  }

  /** Counters of the bank, over all threads. */
  get bank(): Readonly<SlotCounters> {
    return this.#engine ? sumOf([this.#former, this.#engine.bank]) : this.#former
  }

  /**
   * Runs a batch.
   * @throws Problem `engine_lost` if the thread ends or is given up while it has the batch, or a new one does not start
   */
  async run(rows: readonly EngineRow[]): Promise<BatchResult> {
    const engine = await this.#current
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
    this.#closing = true
    const closing = this.#current.then(
      (engine) => engine.close(),
      () => {},
    )
    await Promise.all([closing, ...Array.from(this.#leaving, ({ ended }) => ended)])
  }

  #startWatchdog(engine: Engine): void {
    const { runTimeoutMs } = this.options
    this.#watchdog = setTimeout(
      () => engine.giveUp(`the engine gave back no batch for ${runTimeoutMs} ms`),
      runTimeoutMs,
    ).unref()
  }

  #watch(engine: Engine): void {
    engine.onDeath = (reason) => {
      if (this.#closing) return
      this.#engine = undefined
      this.#leaving.add(engine)
      engine.ended.then(() => this.#leaving.delete(engine))
      this.#former = sumOf([this.#former, engine.bank])
      this.report.lost(reason)
      this.#replace(performance.now(), firstRetryMs)
    }
  }

  #replace(since: number, retryMs: number): void {
    this.#current = Engine.start(this.options).then(
      async (engine) => {
        if (this.#closing) {
          await engine.close()
          return engine
        }
        this.#engine = engine
        this.#watch(engine)
        this.report.replaced(performance.now() - since)
        return engine
      },
      (error: Error) => {
        this.report.notReplaced(error.message, retryMs)
        setTimeout(() => {
          if (!this.#closing) this.#replace(since, Math.min(2 * retryMs, longestRetryMs))
        }, retryMs).unref()
        throw new Problem('engine_lost', `the engine was lost and a new one did not start: ${error.message}`)
      },
    )
    // Whoever runs a batch is told; nobody may be there.
    this.#current.catch(() => {})
  }
}
