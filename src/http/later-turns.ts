// Work that may wait for a later turn of the event loop. A turn does only a little of it: many clients that connect at the same
// time must not hold the event loop.

import { oncePerTurn } from './once-per-turn.js'

/** Pieces of work in one turn. */
const perTurn = 8

export class LaterTurns {
  /** Work that came in this turn, and work that came before. */
  #new: (() => void)[] = []
  #ready: (() => void)[] = []
  readonly #plan = oncePerTurn(() => this.#doNext())

  /** Does the work after the sockets were polled at least once more. */
  add(work: () => void): void {
    this.#new.push(work)
    this.#plan()
  }

  #doNext(): void {
    for (const work of this.#ready.splice(0, perTurn)) work()
    this.#ready.push(...this.#new)
    this.#new = []
    if (this.#ready.length > 0) this.#plan()
  }
}
