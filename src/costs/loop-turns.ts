// Turns of the event loop. To check, parse and admit a request takes up to some milliseconds that cannot be divided. While
// several owners ask, one request is begun in each turn of the event loop, and owners take turns: who sends one request does
// not wait for all those that another owner has sent at the same time. An owner whose request was refused rests before its
// next turn: refused requests cost the event loop as much as others, and their clients send them again at once.

import { Activity } from '../scheduler/activity.js'
import type { Owner } from '../tenants/tenant.js'

/** How long an owner rests after a request that was refused, in milliseconds. */
const restMs = 10

export class LoopTurns {
  readonly #activity = new Activity()
  /** The first owner that does not rest has the next turn. */
  readonly #waiting = new Map<Owner, (() => void)[]>()
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
    let count = 0
    for (const requests of this.#waiting.values()) count += requests.length
    return count
  }

  /** Resolves when it is the owner's turn. An owner that is alone does not wait. */
  async next(owner: Owner): Promise<void> {
    const now = this.now()
    this.#activity.asked(owner, now)
    if (!this.#activity.several(now) && this.#waiting.size === 0) return
    await new Promise<void>((begin) => {
      const requests = this.#waiting.get(owner)
      if (requests) requests.push(begin)
      else this.#waiting.set(owner, [begin])
      this.#plan()
    })
  }

  /** A request of the owner was refused. */
  refused(owner: Owner): void {
    const now = this.now()
    this.#resting.delete(owner)
    this.#resting.set(owner, now + restMs)
    for (const [rested, until] of this.#resting) {
      if (until > now) break
      this.#resting.delete(rested)
    }
  }

  #plan(): void {
    if (this.#planned || this.#waiting.size === 0) return
    const now = this.now()
    const readyAt = Math.min(...Array.from(this.#waiting.keys(), (owner) => this.#resting.get(owner) ?? now))
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

  #begin(): void {
    const now = this.now()
    for (const [owner, requests] of this.#waiting) {
      if ((this.#resting.get(owner) ?? now) > now) continue
      const begin = requests.shift()
      // Behind the others, for its next turn.
      this.#waiting.delete(owner)
      if (requests.length > 0) this.#waiting.set(owner, requests)
      begin?.()
      return
    }
  }
}
