// Turns of concurrent actors. One actor runs at a time: of those that are ready, the one with the highest priority.
// Priorities change at a few random moments. That finds orders that a random choice at every turn rarely finds
// (probabilistic concurrency testing: Burckhardt et al., 2010).

import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'

export interface TurnOrder {
  /** Priorities of the actors, by their number. */
  readonly priorities: readonly number[]
  /** Numbers of the turns after which the actor gets the lowest priority. */
  readonly demotions: readonly number[]
}

export const turnOrders = (actors: number, turns: number): fc.Arbitrary<TurnOrder> =>
  fc.record({
    priorities: fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: actors, maxLength: actors }),
    demotions: fc.uniqueArray(fc.integer({ min: 0, max: turns }), { maxLength: 12 }),
  })

/** An actor is demoted after so many turns in a row, because it may be waiting for another actor. */
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

  /** Runs `act` when it is the actor's turn. */
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
    // An actor that continues after its turn has asked for the next turn by then.
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
