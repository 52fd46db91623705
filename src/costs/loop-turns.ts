// Turns of the event loop. To check, parse and admit a request takes up to some milliseconds that cannot be divided. While
// several owners ask, one request is begun in each turn of the event loop, and owners take turns: who sends one request does
// not wait for all those that another owner has sent at the same time. An owner whose request was refused rests before its
// next turn: refused requests cost the event loop as much as others, and their clients send them again at once.

import type { Owner } from '../owner.js'
import { ActiveOwners } from './active-owners.js'
import { OwnerQueues } from './owner-queues.js'

/** How long an owner rests after a request that was refused, in milliseconds. */
const restMs = 10

export class LoopTurns {
  readonly #activeOwners = new ActiveOwners()
  readonly #waiting = new OwnerQueues<() => void>()
  /** Until when owners rest, in the order of these times. */
  readonly #resting = new Map<Owner, number>()
  #planned = false
  #timer: NodeJS.Timeout | undefined

  constructor(
    /** In milliseconds. */
    readonly now: () => number = () => performance.now(),
  ) {}

  /** Requests that wait for their turn. */
  get waiting(): number {
    return this.#waiting.size
  }

  /** Resolves when it is the owner's turn. An owner that is alone does not wait. */
  async next(owner: Owner): Promise<void> {
    const now = this.now()
    this.#activeOwners.record(owner, now)
    if (!this.#activeOwners.hasSeveral(now) && this.#waiting.isEmpty) return
    await new Promise<void>((begin) => {
      this.#waiting.add(owner, begin)
      this.#plan()
    })
  }

  /** A request of the owner was refused. */
  rejected(owner: Owner): void {
    const now = this.now()
    this.#resting.delete(owner)
    this.#resting.set(owner, now + restMs)
    for (const [rested, until] of this.#resting) {
      if (until > now) break
      this.#resting.delete(rested)
    }
  }

  #plan(): void {
    if (this.#planned || this.#waiting.isEmpty) return
    const now = this.now()
    const readyAt = Math.min(...Array.from(this.#waiting.owners, (owner) => this.#resting.get(owner) ?? now))
    clearTimeout(this.#timer)
    if (readyAt > now) this.#timer = setTimeout(() => this.#plan(), Math.ceil(readyAt - now))
    else {
      this.#planned = true
      setImmediate(() => {
        this.#planned = false
        this.#begin()
        this.#plan()
      })
    }
  }

  /** Begins a request of the first owner that does not rest. */
  #begin(): void {
    const now = this.now()
    const first = this.#waiting.first((owner) => (this.#resting.get(owner) ?? now) <= now)
    if (first === undefined) return
    const [owner, begin] = first
    this.#waiting.take(owner)
    begin()
  }
}
