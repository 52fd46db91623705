// Bytes that requests hold at one time: bounded in total, and for each owner. What is taken is given back when the request
// ends, however it ends.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'

/** Seconds after which trying again makes sense: requests give back what they hold within moments. */
const retryAfterSeconds = 1

/** What one request holds of a pool. */
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
    /** For messages: what the bytes are. */
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
   * Bytes that an owner may take now. An owner that holds much leaves as much free as it holds, so one alone gets half of
   * the pool, and the next one still finds room. (Dynamic thresholds; Choudhury and Hahne 1998.)
   */
  roomFor(owner: Owner): number {
    return this.#room(this.heldBy(owner))
  }

  /** The most that one request can ever take. */
  get most(): number {
    return Math.floor(this.limit / 2)
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
    // What a request holds itself must not keep it from its own end.
    const room = this.#room(this.heldBy(owner) - held)
    if (bytes <= room) return
    throw new Problem(
      'overloaded',
      `the request needs ${bytes} bytes for ${this.name}, and ${room} are free for its owner; try again later`,
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
