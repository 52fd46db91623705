// A binary heap that knows where each of its items is, so that any item can be removed in O(log n) and none has to stay
// behind as a deleted entry.

/** An item's place in a heap. The heap that returned it keeps it up to date. */
export interface HeapNode<T> {
  readonly item: T
  /** Position in the heap's array; -1 once the item is removed. */
  position: number
}

export class IndexedHeap<T> {
  readonly #nodes: HeapNode<T>[] = []

  /** @param compare negative if `a` comes before `b` */
  constructor(readonly compare: (a: T, b: T) => number) {}

  get size(): number {
    return this.#nodes.length
  }

  /** The first item. */
  peek(): T | undefined {
    return this.#nodes[0]?.item
  }

  push(item: T): HeapNode<T> {
    const node = { item, position: this.#nodes.length }
    this.#nodes.push(node)
    this.#moveUp(node)
    return node
  }

  /** @returns false if the item has been removed already */
  remove(node: HeapNode<T>): boolean {
    if (this.#nodes[node.position] !== node) return false
    const last = this.#nodes.pop()
    if (last !== undefined && last !== node) {
      this.#place(last, node.position)
      this.#moveUp(last)
      this.#moveDown(last)
    }
    node.position = -1
    return true
  }

  /** Moves an item whose key has grown. */
  moveBack(node: HeapNode<T>): void {
    this.#moveDown(node)
  }

  /** All items, in no order. */
  *[Symbol.iterator](): Iterator<T> {
    for (const { item } of this.#nodes) yield item
  }

  #place(node: HeapNode<T>, position: number): void {
    this.#nodes[position] = node
    node.position = position
  }

  #moveUp(node: HeapNode<T>): void {
    let { position } = node
    while (position > 0) {
      const above = (position - 1) >> 1
      const parent = this.#nodes[above]
      if (parent === undefined || this.compare(parent.item, node.item) <= 0) break
      this.#place(parent, position)
      position = above
    }
    this.#place(node, position)
  }

  #moveDown(node: HeapNode<T>): void {
    let { position } = node
    for (;;) {
      const first = this.#firstChild(position)
      if (first === undefined || this.compare(node.item, first.item) <= 0) break
      const below = first.position
      this.#place(first, position)
      position = below
    }
    this.#place(node, position)
  }

  #firstChild(position: number): HeapNode<T> | undefined {
    const left = this.#nodes[2 * position + 1]
    const right = this.#nodes[2 * position + 2]
    return left && right && this.compare(right.item, left.item) < 0 ? right : left
  }
}
