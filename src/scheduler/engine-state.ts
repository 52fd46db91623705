// One engine as the scheduler sees it: the batches that it has, when it can take the next one, and when it should finish.

import type { BatchResult, EngineRow } from '../engine/engine.js'

/** Runs batches, one after another. */
export interface Runner {
  /** Whether it takes batches. */
  readonly available: boolean
  /** Set by the dispatcher; the runner calls it when it has become available again. */
  onAvailable?: () => void
  /** @throws EngineLost if the engine failed; any other error if a row cannot be computed */
  run(rows: readonly EngineRow[]): Promise<BatchResult>
}

/** How a run ended: with results, with a row that cannot be computed, or with the loss of the engine. */
export type RunEnd = 'computed' | 'row_failed' | 'engine_lost'

/** One batch runs and one is ready. */
const maxBatches = 2
/**
 * The second batch is sent when this much of the first one is left, as a share or in milliseconds, whichever is more. Until
 * then, rows that arrive can still join it.
 */
const readyAhead = { share: 0.25, ms: 0.5 }
/**
 * An engine that is lost repeatedly gets no batches for a while, so that other engines take the rows. The pause doubles
 * with each loss. In milliseconds.
 */
const firstPauseMs = 10
const longestPauseMs = 5_000

export class EngineState {
  /** When each batch of the engine should end, in order. */
  readonly #ends: number[] = []
  /** Whether each of them is long. */
  readonly #long: boolean[] = []
  #lastMs = 0
  #losses = 0
  #pausedUntil = Number.NEGATIVE_INFINITY

  constructor(readonly runner: Runner) {}

  get busy(): boolean {
    return this.#ends.length > 0
  }

  /** Whether a long batch runs or is ready. */
  get hasLongBatch(): boolean {
    return this.#long.includes(true)
  }

  /** When a batch that is sent now would start. */
  freeAt(now: number): number {
    return Math.max(now, this.#ends.at(-1) ?? now)
  }

  /** The time from which the engine takes another batch. Infinity: only after an event, such as the end of a batch. */
  get acceptsAt(): number {
    if (!this.runner.available || this.#ends.length >= maxBatches) return Number.POSITIVE_INFINITY
    const [end] = this.#ends
    const early = Math.max(readyAhead.ms, readyAhead.share * this.#lastMs)
    return Math.max(this.#pausedUntil, end === undefined ? Number.NEGATIVE_INFINITY : end - early)
  }

  /** @param ms estimated time of the batch */
  batchSent(now: number, ms: number, long = false): void {
    this.#ends.push(this.freeAt(now) + ms)
    this.#long.push(long)
    this.#lastMs = ms
  }

  batchEnded(now: number, end: RunEnd): void {
    this.#ends.shift()
    this.#long.shift()
    // The batch that was ready starts now, which may be earlier or later than estimated.
    if (this.#ends.length > 0) this.#ends[0] = now + this.#lastMs
    if (end === 'computed') this.#losses = 0
    if (end !== 'engine_lost') return
    this.#losses++
    if (this.#losses > 1) this.#pausedUntil = now + Math.min(firstPauseMs * 2 ** (this.#losses - 2), longestPauseMs)
  }
}
