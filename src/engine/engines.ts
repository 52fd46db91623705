// All engines of a server. Each has a thread, a session and a bank of its own, and its share of the processor's threads.

import { availableParallelism } from 'node:os'
import type { ProviderChoice } from './providers.js'
import { type SlotCounters, sumOf } from './slots.js'
import { SupervisedEngine, type SupervisedOptions, type SupervisorReport } from './supervised-engine.js'

export class Engines {
  private constructor(readonly all: readonly [SupervisedEngine, ...SupervisedEngine[]]) {}

  /**
   * Starts `count` engines; resolves when all of them have answered a warm-up batch.
   * @param options `threads` are those of all engines together; 0: one for each core
   * @param report told of the engine by its number, from 0
   * @throws as Engine.start, once those that did start are closed
   */
  static async start(
    count: number,
    { threads, ...options }: SupervisedOptions,
    report: (engine: number) => SupervisorReport,
  ): Promise<Engines> {
    const share = Math.max(1, Math.floor((threads || availableParallelism()) / count))
    // A single engine leaves the choice to onnxruntime, which knows cores from hyperthreads.
    const each = { ...options, threads: count === 1 ? threads : share }
    const starting = Array.from({ length: count }, (_, at) => SupervisedEngine.start(each, report(at)))
    const settled = await Promise.allSettled(starting)
    const started = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    const [first, ...others] = started
    if (first !== undefined && started.length === count) return new Engines([first, ...others])
    await Promise.all(started.map((engine) => engine.close()))
    throw settled.find((result) => result.status === 'rejected')?.reason
  }

  /** The provider that they run on, and why. */
  get choice(): ProviderChoice {
    return this.all[0].first.choice
  }

  /** Engines whose thread answers, as far as is known. */
  get available(): number {
    return this.all.filter(({ available }) => available).length
  }

  /** Counters of all banks together. */
  get bank(): Readonly<SlotCounters> {
    return sumOf(this.all.map(({ bank }) => bank))
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map((engine) => engine.close()))
  }
}
