// Masks from scores, and the gradient of scores.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { maskFromScores, straightThroughGradient } from '../../src/petl/scores.js'

test('the mask keeps the largest magnitudes of either sign', () => {
  const scores = Float32Array.of(0.1, -0.9, 0.5, -0.2)
  assert.deepEqual([...maskFromScores(scores, 0.5)], [0, 1, 1, 0])
  assert.deepEqual([...maskFromScores(scores, 0.25)], [0, 1, 0, 0])
})

test('the number of zeros is rounded down', () => {
  // ⌊0.5 · 3⌋ = 1 zero, ⌊0.9 · 3⌋ = 2
  assert.deepEqual([...maskFromScores(Float32Array.of(3, 1, 2), 0.5)], [1, 0, 1])
  assert.deepEqual([...maskFromScores(Float32Array.of(3, 1, 2), 0.1)], [1, 0, 0])
  assert.deepEqual([...maskFromScores(Float32Array.of(3, 1, 2), 1)], [1, 1, 1])
})

test('a mask agrees with a stable sort by magnitude', () => {
  const score = fc.integer({ min: -5, max: 5 })
  fc.assert(
    fc.property(
      fc.array(score, { minLength: 1, maxLength: 60 }),
      fc.double({ min: 0.01, max: 1, noNaN: true }),
      (list, k) => {
        const order = list.map((_, i) => i).sort((a, b) => Math.abs(list[a] ?? 0) - Math.abs(list[b] ?? 0))
        const zeros = new Set(order.slice(0, Math.floor((1 - k) * list.length)))
        assert.deepEqual(
          [...maskFromScores(Float32Array.from(list), k)],
          list.map((_, i) => (zeros.has(i) ? 0 : 1)),
        )
      },
    ),
  )
})

test('the gradient has the sign of the score, both for kept and for dropped weights', () => {
  const gradient = Float32Array.of(2, 2, -3, 5)
  assert.deepEqual([...straightThroughGradient(Float32Array.of(0.1, -0.9, -0.5, 0), gradient)], [2, -2, 3, 0])
})
