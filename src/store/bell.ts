// What a loop waits for: it goes on when someone rings, when someone rang while it was busy, or after a while.

export class Bell {
  #rang = false
  #answer = () => {}

  ring(): void {
    this.#rang = true
    this.#answer()
  }

  /** @param atMostMs of waiting, in milliseconds */
  async rung(atMostMs: number): Promise<void> {
    if (!this.#rang)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, atMostMs)
        this.#answer = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    this.#rang = false
    this.#answer = () => {}
  }
}
