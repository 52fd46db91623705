// Statistics of samples over time.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lowerEnvelope, type Sample, slopeOf } from '../../bench/support/figures.js'

test('slope and confidence interval equal scipy.stats.theilslopes, also with an outlier', () => {
  const times = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12]
  const values = [10, 12, 9, 14, 15, 13, 90, 18, 17, 21, 24]
  const samples = times.map((at, index): Sample => ({ at, value: values[index] ?? Number.NaN }))
  const { slope, interval } = slopeOf(samples)
  // scipy 1.17.1
  assert.equal(slope, 1.1666666666666667)
  assert.deepEqual(interval, [0.875, 1.7142857142857142])
})

test('the lower envelope of a sawtooth on a slow rise has the slope of the rise', () => {
  const samples = Array.from(
    { length: 600 },
    (_, at): Sample => ({ at, value: 100 + at / 100 + 40 * ((at % 17) / 16) }),
  )
  const lowest = lowerEnvelope(samples, 30)
  assert.equal(lowest.length, 20)
  assert.ok(lowest.every(({ at, value }) => value === 100 + at / 100))
  assert.ok(Math.abs(slopeOf(lowest).slope - 1 / 100) < 1e-9)
})
