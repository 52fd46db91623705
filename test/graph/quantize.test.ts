// Quantisation of weights to 8-bit integers.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { quantize } from '../../src/graph/passes/quantize.js'

test('integers times scales are the transposed weights, within half a step', () => {
  const weights = fc.float32Array({ minLength: 12, maxLength: 12, noNaN: true, min: -8, max: 8 })
  fc.assert(
    fc.property(weights, fc.constantFrom(127, 63), (weight, largest) => {
      const { values, scales } = quantize(weight, 3, largest)
      for (let o = 0; o < 3; o++)
        for (let i = 0; i < 4; i++) {
          const integer = values[i * 3 + o] ?? Number.NaN
          const scale = scales[o] ?? Number.NaN
          assert.ok(Math.abs(integer) <= largest)
          assert.ok(Math.abs(integer * scale - (weight[o * 4 + i] ?? 0)) <= scale * 0.5001)
        }
    }),
  )
})

test('the largest weight of each output becomes the largest integer', () => {
  const { values, scales } = quantize(Float32Array.of(0.5, -1, 0, 0, 100, 25), 3, 127)
  assert.deepEqual([...values], [64, 0, 127, -127, 0, 32])
  assert.deepEqual([...scales], [Math.fround(1 / 127), 1, Math.fround(100 / 127)])
})
