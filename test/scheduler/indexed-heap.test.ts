import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { IndexedHeap, type Placed } from '../../src/scheduler/indexed-heap.js'

interface Item extends Placed {
  key: number
}

const byKey = (a: Item, b: Item) => a.key - b.key
const itemOf = (key: number): Item => ({ key, position: -1 })
const sortedKeys = (items: Iterable<Item>) => Array.from(items, ({ key }) => key).sort((a, b) => a - b)

function drained(heap: IndexedHeap<Item>): number[] {
  const keys: number[] = []
  for (let first = heap.peek(); first !== undefined; first = heap.peek()) {
    keys.push(first.key)
    assert.ok(heap.remove(first))
  }
  return keys
}

describe('an indexed heap', () => {
  test('agrees with a sorted array after any pushes, removals and moves', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.integer({ min: 0, max: 20 }).map((key) => ({ kind: 'push' as const, key })) },
      { weight: 2, arbitrary: fc.nat().map((which) => ({ kind: 'remove' as const, which })) },
      {
        weight: 1,
        arbitrary: fc.record({ which: fc.nat(), by: fc.nat(9) }).map((move) => ({ kind: 'move' as const, ...move })),
      },
    )
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const heap = new IndexedHeap<Item>(byKey)
        const items: Item[] = []
        for (const each of steps) {
          const item = each.kind === 'push' ? undefined : items[each.which % Math.max(items.length, 1)]
          if (each.kind === 'push') {
            const pushed = itemOf(each.key)
            items.push(pushed)
            heap.push(pushed)
          } else if (item !== undefined && each.kind === 'move') {
            item.key += each.by
            heap.moveBack(item)
          } else if (item !== undefined) {
            assert.equal(heap.remove(item), true)
            assert.equal(heap.remove(item), false, 'removed a second time')
            items.splice(items.indexOf(item), 1)
          }
          assert.equal(heap.size, items.length)
          assert.equal(heap.peek()?.key, sortedKeys(items)[0])
          assert.deepEqual(sortedKeys(heap), sortedKeys(items))
        }
        assert.deepEqual(drained(heap), sortedKeys(items))
      }),
    )
  })

  test('does not remove an item of another heap', () => {
    const [one, other] = [new IndexedHeap<Item>(byKey), new IndexedHeap<Item>(byKey)]
    const item = itemOf(1)
    one.push(item)
    other.push(itemOf(1))
    assert.equal(other.remove(item), false)
    assert.deepEqual([one.size, other.size], [1, 1])
  })
})
