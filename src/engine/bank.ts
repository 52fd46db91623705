// The bank: effective bitsets of the tasks in use, [slots, layers, ⌈n/8⌉] words that the engine's thread owns. A word is
// eight mask entries as unpacking.ts reads them. Which task has which slot is slots.ts's to know.

/** What is put into the bank before a batch runs. */
export interface Loads {
  readonly slots: readonly number[]
  /** Bit planes of each bitset, 1 or 2 (combining.ts). */
  readonly planes: readonly number[]
  /** The bitsets, [planes, layers, ⌈n/8⌉] bytes each, end to end in one buffer. */
  readonly bitsets: Uint8Array<ArrayBuffer>
}

export class Bank {
  readonly words: Uint16Array<ArrayBuffer>
  /** Kept: to allocate it for a batch of many tasks takes as long as to fill it. */
  #compact = new Uint16Array()

  constructor(
    readonly slots: number,
    readonly layers: number,
    readonly maskBytes: number,
  ) {
    this.words = new Uint16Array(slots * layers * maskBytes)
  }

  get slotWords(): number {
    return this.layers * this.maskBytes
  }

  load({ slots, planes, bitsets }: Loads): void {
    const size = this.slotWords
    const expected = size * planes.reduce((sum, count) => sum + count, 0)
    if (bitsets.byteLength !== expected)
      throw new Error(`${bitsets.byteLength} bytes for ${slots.length} slots; expected ${expected}`)
    let first = 0
    for (const [i, slot] of slots.entries()) {
      const place = this.words.subarray(slot * size, (slot + 1) * size)
      place.set(bitsets.subarray(first, first + size))
      first += size
      if (planes[i] === 1) continue
      for (let at = 0; at < size; at++) place[at] = (place[at] ?? 0) | ((bitsets[first + at] ?? 0) << 8)
      first += size
    }
  }

  /** A bank of the given slots alone, each once, and the slots renumbered for it. It holds until the next call. */
  compact(slots: Int32Array): {
    readonly words: Uint16Array<ArrayBuffer>
    readonly slots: Int32Array<ArrayBuffer>
    readonly count: number
  } {
    const renumbered = new Map<number, number>()
    for (const slot of slots) if (!renumbered.has(slot)) renumbered.set(slot, renumbered.size)
    const length = renumbered.size * this.slotWords
    if (this.#compact.length < length) this.#compact = new Uint16Array(length)
    const words = this.#compact.subarray(0, length)
    for (const [slot, place] of renumbered)
      words.set(this.words.subarray(slot * this.slotWords, (slot + 1) * this.slotWords), place * this.slotWords)
    return { words, slots: Int32Array.from(slots, (slot) => renumbered.get(slot) ?? 0), count: renumbered.size }
  }
}
