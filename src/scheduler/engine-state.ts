// One engine as the scheduler sees it: the batches it has, when it takes another one, and when it should be done.

import type { BatchResult, EngineRow } from '../engine/engine.js'

/** What runs batches, one after another. */
export interface Runner {
  /** Whether it takes batches. One that does not is to say so when it does again. */
  readonly available: boolean
  /** Called when it takes batches again; the dispatcher sets it. */
  onAvailable?: () => void
  /** @throws EngineLost if the engine failed; any other error is the fault of a row */
  run(rows: readonly EngineRow[]): Promise<BatchResult>
}

/** How a run ended: with answers, with an error that is the fault of a row, or with the loss of the engine. */
export type RunEnd = 'answered' | 'row_failed' | 'engine_lost'

/** One runs and one is ready. */
const batchesAtOnce = 2
/**
 * The second batch is sent when this much of the first is left, as a share or in milliseconds. Rows that arrive before can
 * still join it.
 */
const readyAhead = { share: 0.25, ms: 2 }
/** An engine that is lost again and again pauses, each time twice as long, so that others get the rows. In milliseconds. */
const firstPauseMs = 10
const longestPauseMs = 5_000

export class EngineState {
  /** When the batches at the engine should end, in their order. */
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

  /** When a batch that is sent now would begin. */
  freeAt(now: number): number {
    return Math.max(now, this.#ends.at(-1) ?? now)
  }

  /** From when on the engine takes another batch; it may be past. Infinity: not before something else happens. */
  get acceptsAt(): number {
    if (!this.runner.available || this.#ends.length >= batchesAtOnce) return Number.POSITIVE_INFINITY
    const [end] = this.#ends
    const early = Math.max(readyAhead.ms, readyAhead.share * this.#lastMs)
    return Math.max(this.#pausedUntil, end === undefined ? Number.NEGATIVE_INFINITY : end - early)
  }

  /** A batch is sent that should take so many milliseconds. */
  batchSent(now: number, ms: number, long = false): void {
    this.#ends.push(this.freeAt(now) + ms)
    this.#long.push(long)
    this.#lastMs = ms
  }

  batchEnded(now: number, end: RunEnd): void {
    this.#ends.shift()
    this.#long.shift()
    // The batch that was ready begins now, earlier or later than estimated.
    if (this.#ends.length > 0) this.#ends[0] = now + this.#lastMs
    if (end === 'answered') this.#losses = 0
    if (end !== 'engine_lost') return
    this.#losses++
    if (this.#losses > 1) this.#pausedUntil = now + Math.min(firstPauseMs * 2 ** (this.#losses - 2), longestPauseMs)
  }
}
