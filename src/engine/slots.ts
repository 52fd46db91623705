// Which version of a task lies in which slot of the bank. Least recently used slots are taken first; slots of the
// batch that is being assembled never are.

import { LRUCache } from 'lru-cache'

export interface SlotCounters {
  hits: number
  loads: number
  evictions: number
}

const none: Readonly<SlotCounters> = { hits: 0, loads: 0, evictions: 0 }

/** Counters of several tables together. */
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

  /** Whether the key has a slot now. */
  has(key: string): boolean {
    return this.#slotOf.has(key)
  }

  /**
   * Slots for the keys of a batch.
   * @param keys one for each row; at most `slots` distinct ones
   * @returns each row's slot, and the keys that are new there and whose bitsets must be loaded first
   */
  assign(keys: readonly string[]): { slots: Int32Array<ArrayBuffer>; loads: { key: string; slot: number }[] } {
    const distinct = new Set(keys)
    if (distinct.size > this.slots)
      throw new Error(`a batch of ${distinct.size} tasks does not fit into ${this.slots} slots`)
    // Touched first, so that none of them is the least recently used while the others find their place.
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
    if (slot === undefined) throw new Error('a full slot table holds no slot')
    return slot
  }
}
