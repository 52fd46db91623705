// Bounds the share of the time that work of low importance takes: one piece at a time, and a rest after each.

export class DutyCycle {
  #running = false
  #restsUntil = 0

  constructor(
    /** Most of the time that the work takes, above 0 and at most 1. */
    readonly share: number,
    /** In milliseconds. */
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Whether a piece of work may start. */
  get free(): boolean {
    return !this.#running && this.now() >= this.#restsUntil
  }

  /** Runs a piece of work. Call it only while `free`. */
  async run<T>(work: () => Promise<T>): Promise<T> {
    const startedAt = this.now()
    this.#running = true
    try {
      return await work()
    } finally {
      this.#running = false
      const endedAt = this.now()
      this.#restsUntil = endedAt + (endedAt - startedAt) * (1 / this.share - 1)
    }
  }
}
