// The correction of wait estimates, learned from how long admitted requests really waited. An estimate does not know rows
// that arrive later and overtake, or texts that do not fit into one batch.

/**
 * Total of the past estimates that count, in milliseconds. A long estimate has more weight, and displaces older ones
 * faster.
 */
const rememberedMs = 60_000
/** Bounds of the ratio. */
const [minRatio, maxRatio] = [0.5, 4] as const

export class Calibration {
  static readonly maxRatio = maxRatio
  #waitedMs = 0
  #estimatedMs = 0

  /** Measured waits divided by their estimates. */
  get ratio(): number {
    if (this.#estimatedMs === 0) return 1
    return Math.min(Math.max(this.#waitedMs / this.#estimatedMs, minRatio), maxRatio)
  }

  learn(estimatedMs: number, waitedMs: number): void {
    const kept = rememberedMs / (rememberedMs + estimatedMs)
    this.#waitedMs = kept * this.#waitedMs + waitedMs
    this.#estimatedMs = kept * this.#estimatedMs + estimatedMs
  }

  /** A request was dropped after a wait. It is unknown how much longer it would have waited, so the wait counts twice. */
  learnLate(estimatedMs: number, waitedMs: number): void {
    this.learn(estimatedMs, 2 * waitedMs)
  }
}
