// How late this process comes to what it should do at a time: a request is read so much later than it came, and an answer
// is written so much later than it was there. Where the engine and the host share cores under load, that is no small part
// of a deadline.

/** Shares of the newest delay in the mean and in the deviation, and how many deviations are allowed for (RFC 6298). */
const [inMean, inDeviation, deviations] = [1 / 8, 1 / 4, 4]

export class EventLoopLag {
  #meanMs = 0
  #deviationMs = 0

  observe(ms: number): void {
    this.#deviationMs += inDeviation * (Math.abs(ms - this.#meanMs) - this.#deviationMs)
    this.#meanMs += inMean * (ms - this.#meanMs)
  }

  /** What should be allowed for in an answer's way. */
  get allowanceMs(): number {
    return this.#meanMs + deviations * this.#deviationMs
  }
}
