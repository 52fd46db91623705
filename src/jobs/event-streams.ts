// The open streams of job events. Each one holds a connection for as long as its job runs, so their number is bounded.

import type { Owner } from '../owner.js'
import { Problem } from '../problem.js'

export const streamsPerOwner = 32
const streamsInAll = 1_024

export class EventStreams {
  readonly #open = new Map<Owner, number>()
  #all = 0

  /**
   * Counts a stream until it is released.
   * @returns the function that releases it; call it once
   * @throws Problem `too_many_streams`
   */
  take(owner: Owner): () => void {
    const own = this.#open.get(owner) ?? 0
    const [open, limit] = own >= streamsPerOwner ? [own, streamsPerOwner] : [this.#all, streamsInAll]
    if (open >= limit)
      throw new Problem(
        'too_many_streams',
        `${open} event streams are open; at most ${limit} may be. Close one, or poll GET /jobs/<id>`,
        {
          limit,
        },
      )
    this.#open.set(owner, own + 1)
    this.#all++
    return () => {
      const left = (this.#open.get(owner) ?? 1) - 1
      if (left > 0) this.#open.set(owner, left)
      else this.#open.delete(owner)
      this.#all--
    }
  }
}
