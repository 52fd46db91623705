// A binary heap whose items know their position. Any item can be removed in O(log n), without tombstones.

/** An item of a heap. It can be in only one heap at a time. */
export interface Placed {
  /** Index in the heap's array, maintained by the heap; -1 if it is in no heap. */
  position: number
}

export class IndexedHeap<T extends Placed> {
  readonly #items: T[] = []

  /** @param compare negative if `a` comes before `b` */
  constructor(readonly compare: (a: T, b: T) => number) {}

  get size(): number {
    return this.#items.length
  }

  /** The first item. */
  peek(): T | undefined {
    return this.#items[0]
  }

  push(item: T): void {
    this.#items.push(item)
    this.#moveUp(item, this.#items.length - 1)
  }

  /** @returns false if the item is not in this heap */
  remove(item: T): boolean {
    const { position } = item
    if (this.#items[position] !== item) return false
    const last = this.#items.pop()
    item.position = -1
    if (last === undefined || last === item) return true
    this.#moveUp(last, position)
    this.#moveDown(last, last.position)
    return true
  }

  /** Restores the order after the key of an item has grown. */
  moveBack(item: T): void {
    this.#moveDown(item, item.position)
  }

  /** All items, in no particular order. */
  [Symbol.iterator](): Iterator<T> {
    return this.#items.values()
  }

  #place(item: T, position: number): void {
    this.#items[position] = item
    item.position = position
  }

  /** Places an item on the path from a position to the root. */
  #moveUp(item: T, from: number): void {
    let position = from
    while (position > 0) {
      const above = (position - 1) >> 1
      const parent = this.#items[above]
      if (parent === undefined || this.compare(parent, item) <= 0) break
      this.#place(parent, position)
      position = above
    }
    this.#place(item, position)
  }

  /** Places an item on a path from a position to the leaves. */
  #moveDown(item: T, from: number): void {
    let position = from
    for (;;) {
      let below = 2 * position + 1
      let child = this.#items[below]
      if (child === undefined) break
      const right = this.#items[below + 1]
      if (right !== undefined && this.compare(right, child) < 0) {
        child = right
        below++
      }
      if (this.compare(item, child) <= 0) break
      this.#place(child, position)
      position = below
    }
    this.#place(item, position)
  }
}
