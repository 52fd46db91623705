// Fair use of the event loop. Checking, parsing and admitting a request takes up to some milliseconds and cannot be divided.
// While several owners are active, one request is started per turn of the event loop, and owners take turns: an owner with one
// request does not wait for all requests that another owner has sent at the same time. After a rejected request an owner
// pauses, because rejected requests cost as much time as others, and their clients often retry at once.

import type { Owner } from '../owner.js'
import { ActiveOwners } from './active-owners.js'
import { OwnerQueues } from './owner-queues.js'

/** How long an owner pauses after a rejected request, in milliseconds. */
const pauseMs = 10

export class LoopTurns {
  readonly #activeOwners = new ActiveOwners()
  readonly #waiting = new OwnerQueues<() => void>()
  /** When the pause of each owner ends, in ascending order. */
  readonly #pausedUntil = new Map<Owner, number>()
  #planned = false
  #timer: NodeJS.Timeout | undefined

  constructor(
    /** The clock, in milliseconds. */
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Number of requests that wait for their turn. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Resolves when it is the owner's turn. A single active owner does not wait. */
  async next(owner: Owner): Promise<void> {
    const now = this.now()
    this.#activeOwners.record(owner, now)
    if (!this.#activeOwners.hasSeveral(now) && this.#waiting.isEmpty) return
    await new Promise<void>((start) => {
      this.#waiting.add(owner, start)
      this.#plan()
    })
  }

  /** Records that a request of the owner was rejected. */
  rejected(owner: Owner): void {
    const now = this.now()
    this.#pausedUntil.delete(owner)
    this.#pausedUntil.set(owner, now + pauseMs)
    for (const [other, until] of this.#pausedUntil) {
      if (until > now) break
      this.#pausedUntil.delete(other)
    }
  }

  #plan(): void {
    if (this.#planned || this.#waiting.isEmpty) return
    const now = this.now()
    const readyAt = Math.min(...Array.from(this.#waiting.owners, (owner) => this.#pausedUntil.get(owner) ?? now))
    clearTimeout(this.#timer)
    if (readyAt > now) this.#timer = setTimeout(() => this.#plan(), Math.ceil(readyAt - now))
    else {
      this.#planned = true
      setImmediate(() => {
        this.#planned = false
        this.#startNext()
        this.#plan()
      })
    }
  }

  /** Starts a request of the first owner that is not paused. */
  #startNext(): void {
    const now = this.now()
    const first = this.#waiting.first((owner) => (this.#pausedUntil.get(owner) ?? now) <= now)
    if (first === undefined) return
    const [owner, start] = first
    this.#waiting.take(owner)
    start()
  }
}
