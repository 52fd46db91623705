// A queue per owner. Owners take turns: after one of its items is taken, an owner goes to the end of the order.

import type { Owner } from '../owner.js'

export class OwnerQueues<Item> {
  /** In the order of turns: the owner that has waited longest comes first. */
  readonly #queues = new Map<Owner, Item[]>()

  /** Owners with waiting items, in the order of turns. */
  get owners(): Iterable<Owner> {
    return this.#queues.keys()
  }

  get isEmpty(): boolean {
    return this.#queues.size === 0
  }

  /** Number of items of all owners. */
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

  /** The first item of the first owner whose first item is accepted. The item stays in the queue. */
  first(accepts: (owner: Owner, item: Item) => boolean = () => true): readonly [Owner, Item] | undefined {
    for (const [owner, [item]] of this.#queues) if (item !== undefined && accepts(owner, item)) return [owner, item]
    return undefined
  }

  /** Removes the first item of an owner, and moves the owner to the end of the order. */
  take(owner: Owner): Item | undefined {
    const queue = this.#queues.get(owner)
    const item = queue?.shift()
    this.#queues.delete(owner)
    if (queue !== undefined && queue.length > 0) this.#queues.set(owner, queue)
    return item
  }
}
