// The bank: effective bitsets of the tasks in use, [slots, layers, ⌈n/8⌉] words that the engine's thread owns. A word is
// eight mask entries as unpacking.ts reads them: two bytes, or one in a bank that holds the first plane alone. Which task
// has which slot is slots.ts's to know.

/** What is put into the bank before a batch runs. */
export interface Loads {
  readonly slots: readonly number[]
  /** Bit planes of each bitset, 1 or 2 (combining.ts). */
  readonly planes: readonly number[]
  /** The bitsets, [planes, layers, ⌈n/8⌉] bytes each, end to end in one buffer. */
  readonly bitsets: Uint8Array<ArrayBuffer>
}

type Words = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>

/** Slots of a batch that lie so near to each other are not copied, but what lies between them is fed too. */
const leastUsed = 0.8

export class Bank {
  readonly words: Words
  /** Kept: to allocate it for a batch of many tasks takes as long as to fill it. */
  #compact: Words
  /** Slots whose second plane did not fit into words of one byte. */
  readonly #cut = new Set<number>()

  constructor(
    readonly slots: number,
    readonly layers: number,
    readonly maskBytes: number,
    readonly word: 'uint8' | 'uint16' = 'uint16',
  ) {
    this.words = this.#wordsFor(slots)
    this.#compact = this.#wordsFor(0)
  }

  get slotWords(): number {
    return this.layers * this.maskBytes
  }

  /** Whether it holds all planes of the bitsets in these slots. */
  holdsAll(slots: Int32Array): boolean {
    return this.#cut.size === 0 || !slots.some((slot) => this.#cut.has(slot))
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
      this.#cut.delete(slot)
      if (planes[i] === 1) continue
      if (this.word === 'uint8') this.#cut.add(slot)
      else for (let at = 0; at < size; at++) place[at] = (place[at] ?? 0) | ((bitsets[first + at] ?? 0) << 8)
      first += size
    }
  }

  /**
   * The given slots as a bank of their own, or as one of few more than they, and their numbers in it. It holds until the
   * next call, or until something is loaded.
   */
  compact(slots: Int32Array): {
    readonly words: Words
    readonly slots: Int32Array<ArrayBuffer>
    readonly count: number
  } {
    const renumbered = new Map<number, number>()
    for (const slot of slots) if (!renumbered.has(slot)) renumbered.set(slot, renumbered.size)
    const size = this.slotWords
    const used = renumbered.size
    const first = slots.reduce((least, slot) => Math.min(least, slot), this.slots)
    const span = slots.reduce((most, slot) => Math.max(most, slot), first) + 1 - first
    if (used >= leastUsed * span)
      return {
        words: this.words.subarray(first * size, (first + span) * size),
        slots: Int32Array.from(slots, (slot) => slot - first),
        count: span,
      }
    if (this.#compact.length < used * size) this.#compact = this.#wordsFor(used)
    const words = this.#compact.subarray(0, used * size)
    for (const [slot, place] of renumbered) words.set(this.words.subarray(slot * size, (slot + 1) * size), place * size)
    return { words, slots: Int32Array.from(slots, (slot) => renumbered.get(slot) ?? 0), count: used }
  }

  #wordsFor(slots: number): Words {
    const length = slots * this.slotWords
    return this.word === 'uint8' ? new Uint8Array(length) : new Uint16Array(length)
  }
}
