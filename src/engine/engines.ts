// All engines of a server. Each has its own thread, session and bank, and an equal share of the CPU threads.

import { availableParallelism } from 'node:os'
import { afterRunning } from '../running-time.js'
import { mayUseDevice, type ProviderChoice } from '../runtime/provider-choice.js'
import { providers } from '../runtime/providers.js'
import type { BatchTiming } from '../runtime/warm-up.js'
import { type EngineMemory, heldBytes } from './abandoned-threads.js'
import { closeTimeoutMs } from './engine.js'
import { type SlotCounters, sumOf } from './slots.js'
import { type Outage, SupervisedEngine, type SupervisedOptions, type SupervisorReport } from './supervised-engine.js'

type Report = (engine: number) => SupervisorReport

export interface EnginesOptions extends SupervisedOptions {
  /** Memory limit of the process, in bytes. Default: no limit. */
  readonly memoryBytes?: number
}

/** Most engines with `auto`. More engines hardly gain throughput, but take memory. */
const maxAutoEngines = 4

const threadsOf = ({ threads }: SupervisedOptions): number => threads || availableParallelism()

export class Engines {
  #stopWaiting: (() => void) | undefined
  /**
   * Called when only a new process can help: abandoned threads have kept any engine from starting for longer than an engine
   * may take to start.
   */
  onStuck: (reason: string) => void = () => {}

  private constructor(
    readonly all: readonly [SupervisedEngine, ...SupervisedEngine[]],
    /** The provider of the engines, and why it was chosen. */
    readonly choice: ProviderChoice = all[0].first.choice,
  ) {
    for (const engine of all) engine.onOutageChange = () => this.#watch()
  }

  /**
   * Starts engines. Resolves when all of them have run their warm-up batches.
   * @param count `auto`: on the CPU one engine per thread, at most four. Small batches gain little from a second thread, and
   *   engines of one thread do not wait for each other; see docs/performance.md. A device gets one engine, because it runs
   *   one batch at a time.
   * @param options `threads` is the total of all engines; 0: one per core
   * @param report returns the receiver of reports about an engine; engines are numbered from 0
   * @throws the same errors as Engine.start, after the engines that did start are closed
   */
  static async start(count: number | 'auto', options: EnginesOptions, report: Report): Promise<Engines> {
    if (count !== 'auto') return Engines.#start(count, options, report)
    const several = Math.min(threadsOf(options), maxAutoEngines)
    if (several === 1 || !mayUseDevice(options)) return Engines.#start(several, options, report)
    // The device is compared with one engine that has all CPU threads.
    const one = await Engines.#start(1, options, report)
    const { provider } = one.choice
    if (providers[provider].isDevice) return one
    await one.close()
    const { all } = await Engines.#start(several, { ...options, provider }, report)
    return new Engines(all, one.choice)
  }

  static async #start(count: number, options: EnginesOptions, report: Report): Promise<Engines> {
    const share = Math.max(1, Math.floor(threadsOf(options) / count))
    // For a single engine onnxruntime chooses the number of threads, because it can tell cores from hyperthreads.
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

  /** Number of engines that take batches. */
  get available(): number {
    return this.all.filter(({ available }) => available).length
  }

  /** Why no engine is available; undefined while at least one is. */
  get outage(): Outage | undefined {
    return this.available === 0 ? this.all.find(({ outage }) => outage !== undefined)?.outage : undefined
  }

  /**
   * Times of the warm-up batches, by ascending size. For each size it is the fastest of all engines, which other load on the
   * machine has disturbed least.
   */
  get timings(): readonly BatchTiming[] {
    const fastest = new Map<number, BatchTiming>()
    for (const timing of this.all.flatMap(({ first }) => first.timings))
      if (timing.ms < (fastest.get(timing.tokens)?.ms ?? Number.POSITIVE_INFINITY)) fastest.set(timing.tokens, timing)
    return [...fastest.values()].sort((a, b) => a.tokens - b.tokens)
  }

  /** Sum of the counters of all banks. */
  get bank(): Readonly<SlotCounters> {
    return sumOf(this.all.map(({ bank }) => bank))
  }

  /** Closes all engines; see SupervisedEngine.close. */
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
