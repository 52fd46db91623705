// What waits, in a queue of each owner. Owners take turns: whoever was served goes behind the others.

import type { Owner } from '../owner.js'

export class OwnerQueues<Item> {
  /** The owner that has waited longest for its turn comes first. */
  readonly #queues = new Map<Owner, Item[]>()

  /** Owners that have something waiting, in the order of their turns. */
  get owners(): Iterable<Owner> {
    return this.#queues.keys()
  }

  get isEmpty(): boolean {
    return this.#queues.size === 0
  }

  /** Items of all owners. */
  get size(): number {
    let size = 0
    for (const queue of this.#queues.values()) size += queue.length
    return size
  }

  has(owner: Owner): boolean {
    return this.#queues.has(owner)
  }

  add(owner: Owner, item: Item): void {
    const queue = this.#queues.get(owner)
    if (queue) queue.push(item)
    else this.#queues.set(owner, [item])
  }

  /** The first item of the first owner whose item is accepted, without taking it. */
  first(accepts: (owner: Owner, item: Item) => boolean = () => true): readonly [Owner, Item] | undefined {
    for (const [owner, [item]] of this.#queues) if (item !== undefined && accepts(owner, item)) return [owner, item]
    return undefined
  }

  /** Takes the first item of an owner, which goes behind the others for its next turn. */
  take(owner: Owner): Item | undefined {
    const queue = this.#queues.get(owner)
    const item = queue?.shift()
    this.#queues.delete(owner)
    if (queue !== undefined && queue.length > 0) this.#queues.set(owner, queue)
    return item
  }
}
