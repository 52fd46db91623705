// Finds texts that occur several times, in a few bytes for each text: a hash table of 64-bit hashes in typed arrays.

/** A text that occurred before. */
export interface Occurrence {
  /** What was stored with its first occurrence. */
  readonly label: number
  readonly place: number
}

const minSlots = 1 << 10

export class TextIndex {
  /** Two halves of the hash for each slot; two zeros mark an empty slot. */
  #hashes = new Uint32Array(2 * minSlots)
  #labels = new Uint32Array(minSlots)
  #places = new Float64Array(minSlots)
  #size = 0

  get size(): number {
    return this.#size
  }

  /**
   * Adds a text unless it is known.
   * @param label a number that stands for its label
   * @param place its line or row
   * @returns its first occurrence if it is known
   */
  add(text: string, label: number, place: number): Occurrence | undefined {
    if (4 * (this.#size + 1) > 3 * this.#labels.length) this.#grow()
    const [high, low] = hashOf(text)
    const slot = this.#slotOf(high, low)
    if (this.#isUsed(slot)) return { label: this.#labels[slot] ?? 0, place: this.#places[slot] ?? 0 }
    this.#fill(slot, high, low, label, place)
    this.#size++
    return undefined
  }

  find(text: string): Occurrence | undefined {
    const slot = this.#slotOf(...hashOf(text))
    return this.#isUsed(slot) ? { label: this.#labels[slot] ?? 0, place: this.#places[slot] ?? 0 } : undefined
  }

  #isUsed(slot: number): boolean {
    return this.#hashes[2 * slot] !== 0 || this.#hashes[2 * slot + 1] !== 0
  }

  /** The slot of a hash, or the empty one in which it belongs. */
  #slotOf(high: number, low: number): number {
    const mask = this.#labels.length - 1
    let slot = low & mask
    while (this.#isUsed(slot) && !(this.#hashes[2 * slot] === high && this.#hashes[2 * slot + 1] === low))
      slot = (slot + 1) & mask
    return slot
  }

  #fill(slot: number, high: number, low: number, label: number, place: number): void {
    this.#hashes[2 * slot] = high
    this.#hashes[2 * slot + 1] = low
    this.#labels[slot] = label
    this.#places[slot] = place
  }

  #grow(): void {
    const [hashes, labels, places] = [this.#hashes, this.#labels, this.#places]
    this.#hashes = new Uint32Array(2 * hashes.length)
    this.#labels = new Uint32Array(2 * labels.length)
    this.#places = new Float64Array(2 * places.length)
    for (let slot = 0; slot < labels.length; slot++) {
      const high = hashes[2 * slot] ?? 0
      const low = hashes[2 * slot + 1] ?? 0
      if (high !== 0 || low !== 0) this.#fill(this.#slotOf(high, low), high, low, labels[slot] ?? 0, places[slot] ?? 0)
    }
  }
}

/** Two 32-bit hashes of the code units (as in cyrb53 of bryc). */
export function hashOf(text: string): [high: number, low: number] {
  let a = 0xdeadbeef
  let b = 0x41c6ce57
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at)
    a = Math.imul(a ^ unit, 2654435761)
    b = Math.imul(b ^ unit, 1597334677)
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909)
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909)
  return [a >>> 0, b >>> 0 || 1]
}
