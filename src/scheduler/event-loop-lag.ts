// How late the event loop of this process is: the delay of planned timers. Requests are read, and responses are written,
// about that much late as well. When the engine and HTTP share cores under load, this is a large part of a deadline.

/** Weight of the newest delay in mean and deviation, and how many deviations are allowed for (RFC 6298). */
const [meanWeight, deviationWeight, deviations] = [1 / 8, 1 / 4, 4]

export class EventLoopLag {
  #meanMs = 0
  #deviationMs = 0

  observe(ms: number): void {
    this.#deviationMs += deviationWeight * (Math.abs(ms - this.#meanMs) - this.#deviationMs)
    this.#meanMs += meanWeight * (ms - this.#meanMs)
  }

  /** Time to reserve for writing a response, in milliseconds. */
  get allowanceMs(): number {
    return this.#meanMs + deviations * this.#deviationMs
  }
}
