// The bank: the effective bitsets of the masks in use, as [slots, layers, ⌈n/8⌉] words in the engine's thread. A word holds
// eight mask entries in the layout of petl/unpacking.ts: two bytes, or one byte in a bank that keeps only the first plane.
// The slot table (engine/slots.ts) knows which mask is in which slot.

/** Bitsets to load into the bank before a batch runs. */
export interface Loads {
  readonly slots: readonly number[]
  /** Bit planes of each bitset, 1 or 2 (petl/combining.ts). */
  readonly planes: readonly number[]
  /** The bitsets, [planes, layers, ⌈n/8⌉] bytes each, concatenated. */
  readonly bitsets: Uint8Array<ArrayBuffer>
}

type Words = Uint8Array<ArrayBuffer> | Uint16Array<ArrayBuffer>

/**
 * If at least this share of the slots between the first and the last slot of a batch is used, the whole range is fed to the
 * session, instead of a copy of the used slots.
 */
const minUsedShare = 0.8

export class Bank {
  readonly words: Words
  /** Reused: allocating it for a batch of many tasks takes as long as filling it. */
  #compact: Words
  /** Slots whose second plane is missing, because the words have one byte. */
  readonly #truncated = new Set<number>()

  constructor(
    readonly slots: number,
    readonly layers: number,
    readonly maskBytes: number,
    readonly word: 'uint8' | 'uint16' = 'uint16',
    /** Allocates zeros. */
    readonly allocate: (bytes: number) => ArrayBuffer = (bytes) => new ArrayBuffer(bytes),
  ) {
    this.words = this.#wordsFor(slots)
    this.#compact = this.#wordsFor(0)
  }

  get slotWords(): number {
    return this.layers * this.maskBytes
  }

  /** Whether the bank holds all planes of the bitsets in these slots. */
  holdsAll(slots: Int32Array): boolean {
    return this.#truncated.size === 0 || !slots.some((slot) => this.#truncated.has(slot))
  }

  load({ slots, planes, bitsets }: Loads): void {
    const size = this.slotWords
    const expected = size * planes.reduce((sum, count) => sum + count, 0)
    if (bitsets.byteLength !== expected)
      throw new Error(`the bitsets of ${slots.length} slots have ${bitsets.byteLength} bytes; expected ${expected}`)
    let first = 0
    for (const [i, slot] of slots.entries()) {
      const place = this.words.subarray(slot * size, (slot + 1) * size)
      place.set(bitsets.subarray(first, first + size))
      first += size
      this.#truncated.delete(slot)
      if (planes[i] === 1) continue
      if (this.word === 'uint8') this.#truncated.add(slot)
      else for (let at = 0; at < size; at++) place[at] = (place[at] ?? 0) | ((bitsets[first + at] ?? 0) << 8)
      first += size
    }
  }

  /**
   * A smaller bank that contains the given slots and few others, and the numbers of the given slots in it. It is valid until
   * the next call or the next load.
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
    if (used >= minUsedShare * span)
      return {
        words: this.words.subarray(first * size, (first + span) * size),
        slots: Int32Array.from(slots, (slot) => slot - first),
        count: span,
      }
    if (this.#compact.length < used * size) this.#compact = this.#wordsFor(Math.min(2 * used, this.slots))
    const words = this.#compact.subarray(0, used * size)
    for (const [slot, place] of renumbered) words.set(this.words.subarray(slot * size, (slot + 1) * size), place * size)
    return { words, slots: Int32Array.from(slots, (slot) => renumbered.get(slot) ?? 0), count: used }
  }

  #wordsFor(slots: number): Words {
    const length = slots * this.slotWords
    return this.word === 'uint8'
      ? new Uint8Array(this.allocate(length), 0, length)
      : new Uint16Array(this.allocate(2 * length), 0, length)
  }
}
