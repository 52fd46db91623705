// A typed array that grows as elements are appended.

type Elements = Uint8Array | Uint16Array | Int32Array | Float32Array | Float64Array

export class GrowingArray<T extends Elements> {
  #elements: T
  #length: number

  /** @param initial its first elements, which also set the element type */
  constructor(initial: T) {
    this.#elements = initial
    this.#length = initial.length
  }

  get length(): number {
    return this.#length
  }

  at(index: number): number {
    return this.#elements[index] ?? 0
  }

  append(values: ArrayLike<number>): void {
    const end = this.#length + values.length
    if (end > this.#elements.length) {
      const type = this.#elements.constructor as new (length: number) => T
      const larger = new type(Math.max(end, 2 * this.#elements.length, 64))
      larger.set(this.#elements)
      this.#elements = larger
    }
    this.#elements.set(values, this.#length)
    this.#length = end
  }

  /** A view of the elements from `start` to `end` (exclusive), not a copy. */
  view(start = 0, end = this.#length): T {
    return this.#elements.subarray(start, end) as T
  }
}
