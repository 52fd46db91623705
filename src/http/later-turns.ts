// Work that may wait for a later turn of the event loop, of which a turn does only a little: many clients that connect at the
// same time must not hold the event loop.

/** Pieces of work in one turn. */
const perTurn = 8

export class LaterTurns {
  /** Work that came in this turn, and work that came before. */
  #new: (() => void)[] = []
  #ready: (() => void)[] = []
  #planned = false

  /** Does the work after the sockets were polled at least once more. */
  add(work: () => void): void {
    this.#new.push(work)
    this.#plan()
  }

  #plan(): void {
    if (this.#planned) return
    this.#planned = true
    setImmediate(() => {
      this.#planned = false
      for (const work of this.#ready.splice(0, perTurn)) work()
      this.#ready.push(...this.#new)
      this.#new = []
      if (this.#ready.length > 0) this.#plan()
    })
  }
}
