// A bound on how much work of a kind is under way at one time. What does not fit waits; owners take turns. An owner alone
// gets half of the gate, so that the next one need not wait for it.

import { Problem } from '../problem.js'
import type { Owner } from '../tenants/tenant.js'

interface Waiting {
  readonly amount: number
  readonly enter: () => void
}

export class Gate {
  readonly #inside = new Map<Owner, number>()
  /** The first owner has the next turn. */
  readonly #waiting = new Map<Owner, Waiting[]>()
  #amount = 0

  constructor(readonly capacity: number) {}

  /** Amount of work under way. */
  get amount(): number {
    return this.#amount
  }

  /**
   * Does the work once there is room for it.
   * @param amount of work; more than half of the gate counts as half
   * @throws Problem `client_closed_request` if the signal is aborted when its turn comes; whatever the work throws
   */
  async pass<T>(owner: Owner, amount: number, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const counted = Math.min(amount, Math.floor(this.capacity / 2))
    if (this.#waiting.has(owner) || !this.#fits(owner, counted))
      await new Promise<void>((enter) => {
        const queue = this.#waiting.get(owner)
        const waiting = { amount: counted, enter }
        if (queue) queue.push(waiting)
        else this.#waiting.set(owner, [waiting])
      })
    else this.#change(owner, counted)
    try {
      if (signal?.aborted) throw new Problem('client_closed_request', 'the client left before its texts were tokenised')
      return await work()
    } finally {
      this.#change(owner, -counted)
      this.#admit()
    }
  }

  #admit(): void {
    for (let next = this.#next(); next !== undefined; next = this.#next()) {
      const { owner, queue, first } = next
      if (!this.#fits(owner, first.amount)) return
      queue.shift()
      // Behind the others, for its next turn.
      this.#waiting.delete(owner)
      if (queue.length > 0) this.#waiting.set(owner, queue)
      this.#change(owner, first.amount)
      first.enter()
    }
  }

  /** The first owner that does not wait for its own work to end. Nobody passes it: it would wait for ever. */
  #next(): { readonly owner: Owner; readonly queue: Waiting[]; readonly first: Waiting } | undefined {
    for (const [owner, queue] of this.#waiting) {
      const [first] = queue
      if (first !== undefined && this.#ownFits(owner, first.amount)) return { owner, queue, first }
    }
    return undefined
  }

  #fits(owner: Owner, amount: number): boolean {
    return this.#amount + amount <= this.capacity && this.#ownFits(owner, amount)
  }

  #ownFits(owner: Owner, amount: number): boolean {
    const own = this.#inside.get(owner) ?? 0
    return own === 0 || own + amount <= this.capacity / 2
  }

  #change(owner: Owner, amount: number): void {
    this.#amount += amount
    const own = (this.#inside.get(owner) ?? 0) + amount
    if (own > 0) this.#inside.set(owner, own)
    else this.#inside.delete(owner)
  }
}
