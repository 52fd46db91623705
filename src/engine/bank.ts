// The bank: effective bitsets of the tasks in use, [slots, layers, ⌈n/8⌉] bytes that the engine's thread owns.
// Which task has which slot is slots.ts's to know.

export class Bank {
  readonly bytes: Uint8Array<ArrayBuffer>

  constructor(
    readonly slots: number,
    readonly layers: number,
    readonly maskBytes: number,
  ) {
    this.bytes = new Uint8Array(slots * layers * maskBytes)
  }

  get slotBytes(): number {
    return this.layers * this.maskBytes
  }

  /** @param bitsets one for each slot, end to end */
  loadAll(slots: readonly number[], bitsets: Uint8Array): void {
    const size = this.slotBytes
    if (bitsets.byteLength !== slots.length * size)
      throw new Error(`${bitsets.byteLength} bytes for ${slots.length} slots of ${size}`)
    for (const [i, slot] of slots.entries()) this.bytes.set(bitsets.subarray(i * size, (i + 1) * size), slot * size)
  }

  /** A bank of the given slots alone, each once, and the slots renumbered for it. */
  compact(slots: Int32Array): {
    readonly bytes: Uint8Array<ArrayBuffer>
    readonly slots: Int32Array<ArrayBuffer>
    readonly count: number
  } {
    const renumbered = new Map<number, number>()
    for (const slot of slots) if (!renumbered.has(slot)) renumbered.set(slot, renumbered.size)
    const bytes = new Uint8Array(renumbered.size * this.slotBytes)
    for (const [slot, place] of renumbered)
      bytes.set(this.bytes.subarray(slot * this.slotBytes, (slot + 1) * this.slotBytes), place * this.slotBytes)
    return { bytes, slots: Int32Array.from(slots, (slot) => renumbered.get(slot) ?? 0), count: renumbered.size }
  }
}
