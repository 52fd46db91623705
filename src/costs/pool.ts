// A pool bounds the bytes that requests hold at the same time, in total and per owner. A request gives back its bytes when it
// ends, also after an error.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'

/** Seconds after which a retry makes sense. Requests hold their bytes only for a short time. */
const retryAfterSeconds = 1

/** The bytes of a pool that one request holds. */
export interface Holding {
  readonly bytes: number
  /** Takes more. @throws Problem `overloaded` */
  add(bytes: number): void
  /** Gives everything back. Calling it again does nothing. */
  release(): void
}

export class Pool {
  readonly #heldBy = new Map<Owner, number>()
  #held = 0

  constructor(
    /** What the bytes are for, in error messages. */
    readonly name: string,
    readonly limit: number,
  ) {}

  get held(): number {
    return this.#held
  }

  heldBy(owner: Owner): number {
    return this.#heldBy.get(owner) ?? 0
  }

  /**
   * Bytes that an owner may take now. An owner must leave as much free as it holds. A single owner therefore gets half of the
   * pool, and the next owner still finds room. (Dynamic thresholds; Choudhury and Hahne 1998.)
   */
  roomFor(owner: Owner): number {
    return this.#room(this.heldBy(owner))
  }

  /** @throws Problem `overloaded` if there is no room for the bytes now */
  take(owner: Owner, bytes: number): Holding {
    let held = 0
    let released = false
    const holding = {
      get bytes() {
        return held
      },
      add: (more: number) => {
        if (released) return
        this.#checkRoom(owner, more, held)
        held += more
        this.#change(owner, more)
      },
      release: () => {
        released = true
        this.#change(owner, -held)
        held = 0
      },
    }
    holding.add(bytes)
    return holding
  }

  #room(toLeaveFree: number): number {
    return Math.max(0, this.limit - this.#held - toLeaveFree)
  }

  #checkRoom(owner: Owner, bytes: number, held: number): void {
    // The bytes that the request holds itself do not count, so that it can finish.
    const room = this.#room(this.heldBy(owner) - held)
    if (bytes <= room) return
    throw new Problem(
      'overloaded',
      `the request needs ${bytes} bytes for ${this.name}, but only ${room} are free for its owner; try again later`,
      { resource: this.name, asked: bytes, room, limit: this.limit, retry_after_s: retryAfterSeconds },
    )
  }

  #change(owner: Owner, bytes: number): void {
    this.#held += bytes
    const own = this.heldBy(owner) + bytes
    if (own > 0) this.#heldBy.set(owner, own)
    else this.#heldBy.delete(owner)
  }
}
