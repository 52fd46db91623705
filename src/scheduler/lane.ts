// One engine and the batches at it: when it takes another one, and when it should be done.

import type { BatchResult, EngineRow } from '../engine/engine.js'

export interface Runner {
  run(rows: readonly EngineRow[]): Promise<BatchResult>
}

/** One runs and one is ready. */
const batchesAtOnce = 2
/** The second batch is handed over when so much of the first is left, and no sooner: what comes until then may be in it. */
const readyAhead = { share: 0.25, ms: 2 }
/** After a failure an engine rests; the next rest is twice as long, until it succeeds. In milliseconds. */
const firstRest = 10
const longestRest = 5_000

export class Lane {
  /** When the batches at the engine should end, in their order. */
  readonly #ends: number[] = []
  #lastMs = 0
  #failures = 0
  #restsUntil = Number.NEGATIVE_INFINITY

  constructor(readonly engine: Runner) {}

  get busy(): boolean {
    return this.#ends.length > 0
  }

  /** When a batch that is handed over now would begin. */
  freeAt(now: number): number {
    return Math.max(now, this.#ends.at(-1) ?? now)
  }

  /** From when on the engine takes another batch; it may be past. Infinity: not before one has ended. */
  get opensAt(): number {
    if (this.#ends.length >= batchesAtOnce) return Number.POSITIVE_INFINITY
    const [end] = this.#ends
    const early = Math.max(readyAhead.ms, readyAhead.share * this.#lastMs)
    return Math.max(this.#restsUntil, end === undefined ? Number.NEGATIVE_INFINITY : end - early)
  }

  /** A batch is handed over that should take so many milliseconds. */
  began(now: number, ms: number): void {
    this.#ends.push(this.freeAt(now) + ms)
    this.#lastMs = ms
  }

  ended(now: number, failed: boolean): void {
    this.#ends.shift()
    // What was ready begins now, sooner or later than it was thought.
    if (this.#ends.length > 0) this.#ends[0] = now + this.#lastMs
    this.#failures = failed ? this.#failures + 1 : 0
    // A row that breaks its batch says nothing of the engine; a second failure in a row does.
    if (this.#failures > 1) this.#restsUntil = now + Math.min(firstRest * 2 ** (this.#failures - 2), longestRest)
  }
}
