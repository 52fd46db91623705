// A gate bounds how much work of one kind runs at the same time. Work that does not fit waits, and owners take turns. A single
// owner gets at most half of the gate, so that the next owner need not wait for it.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'
import { OwnerQueues } from './owner-queues.js'

interface Waiting {
  readonly amount: number
  readonly enter: () => void
}

export class Gate {
  readonly #inside = new Map<Owner, number>()
  readonly #waiting = new OwnerQueues<Waiting>()
  #amount = 0

  constructor(readonly capacity: number) {}

  /** Amount of work that runs. */
  get amount(): number {
    return this.#amount
  }

  /**
   * Runs the work once there is room for it.
   * @param amount of work; more than half of the gate counts as half
   * @throws Problem `client_closed_request` if the signal is aborted before the work starts; whatever the work throws
   */
  async pass<T>(owner: Owner, amount: number, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    const counted = Math.min(amount, Math.floor(this.capacity / 2))
    if (this.#waiting.has(owner) || !this.#fits(owner, counted))
      await new Promise<void>((enter) => this.#waiting.add(owner, { amount: counted, enter }))
    else this.#change(owner, counted)
    try {
      if (signal?.aborted)
        throw new Problem('client_closed_request', 'the client disconnected before its texts were tokenised')
      return await work()
    } finally {
      this.#change(owner, -counted)
      this.#admit()
    }
  }

  #admit(): void {
    // An owner that waits for its own work is skipped. No other is skipped, because large work would then starve.
    const next = () => this.#waiting.first((owner, { amount }) => this.#ownFits(owner, amount))
    for (let first = next(); first !== undefined; first = next()) {
      const [owner, { amount, enter }] = first
      if (!this.#fits(owner, amount)) return
      this.#waiting.take(owner)
      this.#change(owner, amount)
      enter()
    }
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
