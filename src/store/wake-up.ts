// Wakes a loop that waits. A call while the loop is busy ends its next wait at once.

export class WakeUp {
  #woken = false
  #resolve = () => {}

  wake(): void {
    this.#woken = true
    this.#resolve()
  }

  /** Resolves with the next call, or at once after a call since the last wait, or after `maxMs` milliseconds. */
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
