// Turns of actors that race: one acts at a time, the one of the highest priority of those that want to. Priorities that
// change at a few random moments find orders that choosing at random each time hardly finds (probabilistic concurrency
// testing: Burckhardt and others, 2010).

import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'

export interface TurnOrder {
  /** Of the actors, by their number. */
  readonly priorities: readonly number[]
  /** Turns after which the actor that had it becomes the last of all. */
  readonly demotions: readonly number[]
}

export const turnOrders = (actors: number, turns: number): fc.Arbitrary<TurnOrder> =>
  fc.record({
    priorities: fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: actors, maxLength: actors }),
    demotions: fc.uniqueArray(fc.integer({ min: 0, max: turns }), { maxLength: 12 }),
  })

/** Turns in a row after which an actor is demoted: it may wait for another one. */
const inARow = 12

interface Waiting {
  readonly actor: number
  readonly begin: () => void
}

export class Turns {
  readonly #priorities: number[]
  readonly #demotions: ReadonlySet<number>
  readonly #waiting: Waiting[] = []
  #busy = false
  #taken = 0
  #last = { actor: -1, times: 0 }
  #lowest = 0

  constructor({ priorities, demotions }: TurnOrder) {
    this.#priorities = [...priorities]
    this.#demotions = new Set(demotions)
  }

  /** Acts when it is the actor's turn. */
  async take<T>(actor: number, act: () => Promise<T>): Promise<T> {
    await new Promise<void>((begin) => {
      this.#waiting.push({ actor, begin })
      if (!this.#busy) void this.#next()
    })
    try {
      return await act()
    } finally {
      void this.#next()
    }
  }

  async #next(): Promise<void> {
    this.#busy = true
    // Whoever goes on after a turn asks for the next one by then.
    await setImmediate()
    await setImmediate()
    const priority = ({ actor }: Waiting) => this.#priorities[actor] ?? 0
    const chosen = this.#waiting.toSorted((a, b) => priority(b) - priority(a))[0]
    if (chosen === undefined) {
      this.#busy = false
      return
    }
    this.#waiting.splice(this.#waiting.indexOf(chosen), 1)
    const { actor } = chosen
    this.#last = { actor, times: this.#last.actor === actor ? this.#last.times + 1 : 1 }
    if (this.#demotions.has(this.#taken++) || this.#last.times > inARow) this.#priorities[actor] = --this.#lowest
    chosen.begin()
  }
}
