// Fair reading of long bodies. Node reads up to 2 MB from each socket in one turn of the event loop, so a hundred uploads could
// hold it for long. Here a turn reads a few pieces, and owners take turns.

import { OwnerQueues } from '../costs/owner-queues.js'
import type { Owner } from '../owner.js'

/** Pieces that are read in one turn of the event loop. A piece has at most 64 KiB. */
export const piecesPerTurn = 4

/** A socket. */
interface Pausable {
  pause(): unknown
  resume(): unknown
}

export class BodyTurns {
  readonly #waiting = new OwnerQueues<Pausable>()
  #left = piecesPerTurn
  #planned = false

  /** Call it after each piece of a body that is not complete. Pauses the socket until it is the owner's turn. */
  pieceRead(owner: Owner, socket: Pausable): void {
    this.#left--
    if (this.#left < 0) {
      socket.pause()
      this.#waiting.add(owner, socket)
    }
    this.#plan()
  }

  #plan(): void {
    if (this.#planned) return
    this.#planned = true
    setImmediate(() => {
      this.#planned = false
      this.#left = piecesPerTurn
      for (let resumed = 0; resumed < piecesPerTurn && !this.#waiting.isEmpty; resumed++) this.#resumeNext()
      if (!this.#waiting.isEmpty) this.#plan()
    })
  }

  #resumeNext(): void {
    const [owner] = this.#waiting.first() ?? []
    if (owner !== undefined) this.#waiting.take(owner)?.resume()
  }
}
