// All engines of a server. Each has a thread, a session and a bank of its own, and its share of the processor's threads.

import { availableParallelism } from 'node:os'
import { afterRunning } from '../running-time.js'
import { mayUseDevice, type ProviderChoice } from '../runtime/provider-choice.js'
import type { BatchTiming } from '../runtime/warm-up.js'
import { type EngineMemory, heldBytes } from './abandoned-threads.js'
import { closeTimeoutMs } from './engine.js'
import { type SlotCounters, sumOf } from './slots.js'
import { type Outage, SupervisedEngine, type SupervisedOptions, type SupervisorReport } from './supervised-engine.js'

type Report = (engine: number) => SupervisorReport

export interface EnginesOptions extends SupervisedOptions {
  /** What the process may take, in bytes; by default there is no limit. */
  readonly memoryBytes?: number
}

/** So many engines have what there is to gain by them; more would only take memory. */
const mostByAuto = 4

const threadsOf = ({ threads }: SupervisedOptions): number => threads || availableParallelism()

export class Engines {
  #stopWaiting: (() => void) | undefined
  /**
   * Called when only a new process helps: for as long as an engine may take to start there was no engine, and threads that
   * were left behind kept new ones from being started.
   */
  onStuck: (reason: string) => void = () => {}

  private constructor(
    readonly all: readonly [SupervisedEngine, ...SupervisedEngine[]],
    /** The provider that they run on, and why. */
    readonly choice: ProviderChoice = all[0].first.choice,
  ) {
    for (const engine of all) engine.onOutageChange = () => this.#watch()
  }

  /**
   * Starts engines; resolves when all of them have answered a warm-up batch.
   * @param count `auto`: on the CPU one for each thread, at most four. Small batches gain little by a second thread, and an
   *   engine that has one waits for no other: see docs/performance.md. On a device one, for it runs one batch at a time.
   * @param options `threads` are those of all engines together; 0: one for each core
   * @param report told of the engine by its number, from 0
   * @throws as Engine.start, once those that did start are closed
   */
  static async start(count: number | 'auto', options: EnginesOptions, report: Report): Promise<Engines> {
    if (count !== 'auto') return Engines.#start(count, options, report)
    const several = Math.min(threadsOf(options), mostByAuto)
    if (several === 1 || !mayUseDevice(options)) return Engines.#start(several, options, report)
    // The device is to beat all of the processor.
    const one = await Engines.#start(1, options, report)
    if (one.choice.provider !== 'cpu') return one
    await one.close()
    const { all } = await Engines.#start(several, { ...options, provider: 'cpu' }, report)
    return new Engines(all, one.choice)
  }

  static async #start(count: number, options: EnginesOptions, report: Report): Promise<Engines> {
    const share = Math.max(1, Math.floor(threadsOf(options) / count))
    // A single engine leaves the choice to onnxruntime, which knows cores from hyperthreads.
    const each = count === 1 ? options : { ...options, threads: share }
    const memory: EngineMemory = { limitBytes: options.memoryBytes ?? Number.POSITIVE_INFINITY, engineBytes: 0 }
    const before = heldBytes()
    const starting = Array.from({ length: count }, (_, at) => SupervisedEngine.start(each, report(at), memory))
    const settled = await Promise.allSettled(starting)
    memory.engineBytes = Math.max(0, heldBytes() - before) / count
    const started = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    const [first, ...others] = started
    if (first !== undefined && started.length === count) return new Engines([first, ...others])
    await Promise.all(started.map((engine) => engine.close()))
    throw settled.find((result) => result.status === 'rejected')?.reason
  }

  /** Engines whose thread answers, as far as is known. */
  get available(): number {
    return this.all.filter(({ available }) => available).length
  }

  /** Why no engine is available; undefined while one is. */
  get outage(): Outage | undefined {
    return this.available === 0 ? this.all.find(({ outage }) => outage !== undefined)?.outage : undefined
  }

  /**
   * What the batches took that warmed the engines up, by ascending size: of each size the fastest of all engines, in which
   * the least of what else the machine did is counted.
   */
  get timings(): readonly BatchTiming[] {
    const fastest = new Map<number, BatchTiming>()
    for (const timing of this.all.flatMap(({ first }) => first.timings))
      if (timing.ms < (fastest.get(timing.tokens)?.ms ?? Number.POSITIVE_INFINITY)) fastest.set(timing.tokens, timing)
    return [...fastest.values()].sort((a, b) => a.tokens - b.tokens)
  }

  /** Counters of all banks together. */
  get bank(): Readonly<SlotCounters> {
    return sumOf(this.all.map(({ bank }) => bank))
  }

  /** As SupervisedEngine.close. */
  async close(withinMs = closeTimeoutMs): Promise<void> {
    this.#stopWaiting?.()
    await Promise.all(this.all.map((engine) => engine.close(withinMs)))
  }

  #watch(): void {
    const blocked = this.all.find(({ outage }) => outage?.notReplaced?.cause === 'left_behind')
    if (blocked === undefined || this.available > 0) {
      this.#stopWaiting?.()
      this.#stopWaiting = undefined
      return
    }
    const { startTimeoutMs = Number.POSITIVE_INFINITY } = blocked.options
    const reason = `no engine is available: ${blocked.outage?.notReplaced?.reason}`
    this.#stopWaiting ??= afterRunning(startTimeoutMs, () => this.onStuck(reason))
  }
}
