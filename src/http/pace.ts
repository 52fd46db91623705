// Spreads work over time: hands out points in time with a fixed distance.

export class Pace {
  #next = 0

  constructor(
    /** In milliseconds. */
    readonly everyMs: number,
  ) {}

  /** Takes the next free point in time. @returns milliseconds until then */
  take(): number {
    const now = performance.now()
    const time = Math.max(now, this.#next)
    this.#next = time + this.everyMs
    return time - now
  }
}
