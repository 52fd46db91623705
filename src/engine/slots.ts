// The slot table: which mask is in which slot of the bank. The least recently used mask is evicted first. Masks of the batch
// that is being prepared are never evicted.

import { LRUCache } from 'lru-cache'

export interface SlotCounters {
  hits: number
  loads: number
  evictions: number
}

const none: Readonly<SlotCounters> = { hits: 0, loads: 0, evictions: 0 }

/** The sum of counters. */
export const sumOf = (counters: readonly Readonly<SlotCounters>[]): Readonly<SlotCounters> =>
  counters.reduce(
    (a, b) => ({ hits: a.hits + b.hits, loads: a.loads + b.loads, evictions: a.evictions + b.evictions }),
    none,
  )

export class SlotTable {
  readonly counters: SlotCounters = { ...none }
  readonly #slotOf: LRUCache<string, number>

  constructor(readonly slots: number) {
    this.#slotOf = new LRUCache({ max: slots })
  }

  /** Whether the key has a slot. */
  has(key: string): boolean {
    return this.#slotOf.has(key)
  }

  /**
   * Assigns slots to the masks of a batch.
   * @param keys one per row; at most `slots` distinct keys
   * @returns the slot of each row, and the new keys, whose bitsets must be loaded before the batch runs
   */
  assign(keys: readonly string[]): { slots: Int32Array<ArrayBuffer>; loads: { key: string; slot: number }[] } {
    const distinct = new Set(keys)
    if (distinct.size > this.slots)
      throw new Error(
        `the batch has ${distinct.size} different masks; expected at most ${this.slots}, the number of slots`,
      )
    // get() marks the keys of this batch as recently used, so that none of them is evicted for another.
    const missing = [...distinct].filter((key) => this.#slotOf.get(key) === undefined)
    const loads = missing.map((key) => {
      const slot = this.#takeSlot()
      this.#slotOf.set(key, slot)
      return { key, slot }
    })
    this.counters.hits += distinct.size - missing.length
    this.counters.loads += missing.length
    return { slots: Int32Array.from(keys, (key) => this.#slotOf.get(key) ?? -1), loads }
  }

  #takeSlot(): number {
    if (this.#slotOf.size < this.slots) return this.#slotOf.size
    this.counters.evictions++
    const slot = this.#slotOf.pop()
    if (slot === undefined) throw new Error('the slot table is full but has no entry')
    return slot
  }
}
