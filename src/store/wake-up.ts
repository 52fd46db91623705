// Wakes a loop that waits: at once when it is called, also when that was while the loop was busy, and else after a while.

export class WakeUp {
  #called = false
  #resolve = () => {}

  call(): void {
    this.#called = true
    this.#resolve()
  }

  /** Resolves with the next call, or the last one if it has not been waited for. @param atMostMs milliseconds */
  async called(atMostMs: number): Promise<void> {
    if (!this.#called)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, atMostMs)
        this.#resolve = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    this.#called = false
    this.#resolve = () => {}
  }
}
