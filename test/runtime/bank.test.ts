import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { SlotTable } from '../../src/engine/slots.js'
import { Bank } from '../../src/runtime/bank.js'

describe('bank and slots', () => {
  test('every row gets its own bitset, with more tasks than slots', () => {
    const batches = fc.array(fc.array(fc.nat(20), { minLength: 1, maxLength: 12 }), { maxLength: 40 })
    fc.assert(
      fc.property(batches, (keys) => {
        const slots = 6
        const table = new SlotTable(slots)
        const bank = new Bank(slots, 1, 1)
        for (const all of keys) {
          const batch = all.filter((key) => new Set(all.slice(0, all.indexOf(key) + 1)).size <= slots)
          const assigned = table.assign(batch.map(String))
          bank.load({
            slots: assigned.loads.map(({ slot }) => slot),
            planes: assigned.loads.map(() => 1),
            bitsets: Uint8Array.from(assigned.loads, ({ key }) => Number(key)),
          })
          assert.deepEqual(
            Array.from(assigned.slots, (slot) => bank.words[slot]),
            batch,
          )
          const compact = bank.compact(assigned.slots)
          assert.ok(compact.count <= new Set(batch).size / 0.8)
          assert.equal(compact.words.length, compact.count)
          assert.deepEqual(
            Array.from(compact.slots, (slot) => compact.words[slot]),
            batch,
          )
        }
      }),
    )
  })

  test('takes its memory from the given allocator, and seldom more of it for batches that grow', () => {
    const sizes: number[] = []
    const bank = new Bank(64, 2, 3, 'uint8', (bytes) => {
      sizes.push(bytes)
      return new ArrayBuffer(bytes + 10)
    })
    assert.equal(bank.words.length, 64 * 6)
    // Every second slot: too few of the range to feed it in place.
    for (let count = 2; count <= 32; count++) {
      const slots = Int32Array.from({ length: count }, (_, at) => 2 * at)
      bank.load({ slots: [2 * count - 2], planes: [1], bitsets: new Uint8Array(6).fill(count) })
      assert.deepEqual(Array.from(bank.compact(slots).words.subarray(-6)), new Array(6).fill(count))
    }
    assert.deepEqual(
      sizes.filter((bytes) => bytes > 0).map((bytes) => bytes / 6),
      [64, 4, 10, 22, 46],
    )
  })

  test('a second plane becomes the high bytes of its slot, and a later load removes it', () => {
    const bank = new Bank(2, 1, 2)
    bank.load({ slots: [1, 0], planes: [2, 1], bitsets: Uint8Array.of(1, 2, 3, 4, 5, 6) })
    assert.deepEqual(Array.from(bank.words), [5, 6, 0x301, 0x402])
    bank.load({ slots: [1], planes: [1], bitsets: Uint8Array.of(7, 8) })
    assert.deepEqual(Array.from(bank.words), [5, 6, 7, 8])
  })

  test('the least recently used mask is evicted and counted', () => {
    const table = new SlotTable(2)
    table.assign(['a', 'b'])
    table.assign(['a'])
    const { loads } = table.assign(['c'])
    assert.deepEqual(loads, [{ key: 'c', slot: 1 }])
    assert.deepEqual(table.counters, { hits: 1, loads: 3, evictions: 1 })
  })

  test('rejects a batch of more masks than slots without changing anything', () => {
    const table = new SlotTable(2)
    assert.throws(() => table.assign(['a', 'b', 'c']), /3 different masks; expected at most 2/)
    assert.deepEqual(table.counters, { hits: 0, loads: 0, evictions: 0 })
  })
})
