// Fair reading of long bodies. Node reads up to 2 MB from each socket in one turn of the event loop, so a hundred uploads could
// hold it for long. Here a turn reads a few pieces, and owners take turns.

import { OwnerQueues } from '../costs/owner-queues.js'
import type { Owner } from '../owner.js'
import { oncePerTurn } from './once-per-turn.js'

/** Pieces that are read in one turn of the event loop. A piece has at most 64 KiB. */
export const piecesPerTurn = 4

/** A request with a body. */
interface Pausable {
  /** Whether its socket is read. */
  readonly isReading: boolean
  pauseReading(): void
  resumeReading(): void
}

export class BodyTurns {
  readonly #waiting = new OwnerQueues<Pausable>()
  #left = piecesPerTurn
  readonly #plan = oncePerTurn(() => this.#readNext())

  /** Call it after each piece of a body that is not complete. Pauses the request until it is the owner's turn. */
  pieceRead(owner: Owner, request: Pausable): void {
    this.#left--
    // Further small pieces of the same read arrive even if it is paused.
    if (this.#left < 0 && request.isReading) {
      request.pauseReading()
      this.#waiting.add(owner, request)
    }
    this.#plan()
  }

  #readNext(): void {
    this.#left = piecesPerTurn
    while (this.#left > 0 && !this.#waiting.isEmpty) this.#resumeNext()
    if (!this.#waiting.isEmpty) this.#plan()
  }

  /** The request will read at least one piece in this turn. */
  #resumeNext(): void {
    this.#left--
    const [owner] = this.#waiting.first() ?? []
    if (owner !== undefined) this.#waiting.take(owner)?.resumeReading()
  }
}
