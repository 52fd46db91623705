import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PinnedMemory } from '../../src/runtime/pinned-memory.js'
import { testProvider } from '../material.js'

test('without the CUDA runtime there is no page-locked memory', {
  skip: testProvider === 'cuda' && 'needs a machine without CUDA',
}, async () => {
  assert.equal(await PinnedMemory.open(), undefined)
})

test('page-locked memory is zero, and each part is separate', {
  skip: testProvider !== 'cuda' && 'needs the CUDA provider',
}, async () => {
  const memory = (await PinnedMemory.open()) ?? assert.fail('the CUDA runtime does not load')
  const [a, b] = [10_000, 20_000].map((bytes) => new Uint8Array(memory.allocate(bytes) ?? assert.fail('no memory')))
  assert.ok(a && b)
  assert.deepEqual([a.length, b.length], [10_000, 20_000])
  a.fill(1)
  assert.ok(b.every((byte) => byte === 0))
  assert.equal(memory.allocate(2 ** 52), undefined)
  memory.release()
})
