import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { type HeapNode, IndexedHeap } from '../../src/scheduler/indexed-heap.js'

interface Item {
  key: number
}

const byKey = (a: Item, b: Item) => a.key - b.key
const drained = (heap: IndexedHeap<Item>, nodes: Iterable<HeapNode<Item>>) => {
  const nodeOf = new Map(Array.from(nodes, (node) => [node.item, node]))
  const keys: number[] = []
  for (let first = heap.peek(); first !== undefined; first = heap.peek()) {
    keys.push(first.key)
    const node = nodeOf.get(first)
    assert.ok(node !== undefined && heap.remove(node))
  }
  return keys
}

describe('an indexed heap', () => {
  test('agrees with a sorted array, whatever is pushed, removed and moved', () => {
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
        const nodes: HeapNode<Item>[] = []
        for (const each of steps) {
          const node = each.kind === 'push' ? undefined : nodes[each.which % Math.max(nodes.length, 1)]
          if (each.kind === 'push') nodes.push(heap.push({ key: each.key }))
          else if (node !== undefined && each.kind === 'move') {
            node.item.key += each.by
            heap.moveBack(node)
          } else if (node !== undefined) {
            assert.equal(heap.remove(node), true)
            assert.equal(heap.remove(node), false, 'it was removed already')
            nodes.splice(nodes.indexOf(node), 1)
          }
          const keys = nodes.map(({ item }) => item.key).sort((a, b) => a - b)
          assert.equal(heap.size, keys.length)
          assert.equal(heap.peek()?.key, keys[0])
          assert.deepEqual(
            Array.from(heap, ({ key }) => key).sort((a, b) => a - b),
            keys,
          )
        }
        const keys = nodes.map(({ item }) => item.key).sort((a, b) => a - b)
        assert.deepEqual(drained(heap, nodes), keys)
      }),
    )
  })

  test('does not remove a node of another heap', () => {
    const [one, other] = [new IndexedHeap<Item>(byKey), new IndexedHeap<Item>(byKey)]
    const node = one.push({ key: 1 })
    other.push({ key: 1 })
    assert.equal(other.remove(node), false)
    assert.deepEqual([one.size, other.size], [1, 1])
  })
})
