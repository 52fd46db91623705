// Wakes a loop that waits: at once when it is called, also when that was while the loop was busy, and else after a while.

export class WakeUp {
  #woken = false
  #resolve = () => {}

  wake(): void {
    this.#woken = true
    this.#resolve()
  }

  /** Resolves with the next call, or the last one if it has not been waited for. @param maxMs milliseconds */
  async wait(maxMs: number): Promise<void> {
    if (!this.#woken)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, maxMs)
        this.#resolve = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    this.#woken = false
    this.#resolve = () => {}
  }
}
