import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AdamW, rateShare } from '../../src/learn/optimiser.js'

const close = (found: number | undefined, expected: number) =>
  assert.ok(
    Math.abs((found ?? Number.NaN) - expected) <= 1e-6 * Math.max(1, Math.abs(expected)),
    `${found}, ${expected}`,
  )

test('two updates follow the equations of AdamW', () => {
  const optimiser = new AdamW({ weightDecay: 0.1 })
  const values = Float32Array.of(1)
  // First update: both corrected moments equal the gradient and its square, so the change is the rate times its sign.
  optimiser.update(values, Float32Array.of(0.5), 0.01, true)
  const first = (1 - 0.01 * 0.1) * 1 - 0.01
  close(values[0], first)
  // Second: m = 0.9·0.05 + 0.1·(−0.2), v = 0.999·0.00025 + 0.001·0.04, corrected by 1 − 0.9² and 1 − 0.999².
  optimiser.update(values, Float32Array.of(-0.2), 0.01, true)
  const m = (0.9 * 0.05 - 0.1 * 0.2) / 0.19
  const v = (0.999 * 0.00025 + 0.001 * 0.04) / (1 - 0.999 ** 2)
  close(values[0], (1 - 0.01 * 0.1) * first - (0.01 * m) / Math.sqrt(v))
})

test('values without decay do not shrink, and each array has its own moments', () => {
  const optimiser = new AdamW({ weightDecay: 0.1 })
  const [a, b] = [Float32Array.of(1), Float32Array.of(1)]
  for (let i = 0; i < 5; i++) optimiser.update(a, Float32Array.of(3), 0.01, false)
  optimiser.update(b, Float32Array.of(-7), 0.01, false)
  close(a[0], 1 - 5 * 0.01)
  close(b[0], 1.01)
})

test('learning rates rise over a tenth of the steps, then fall to almost 0', () => {
  const shares = Array.from({ length: 100 }, (_, step) => rateShare(step, 100))
  assert.equal(shares[0], 0)
  assert.equal(shares[5], 0.5)
  assert.equal(shares[10], 1)
  assert.equal(shares[55], 0.5)
  close(shares[99], 1 / 90)
  assert.equal(rateShare(0, 3), 1, 'a run that is too short to warm up starts at the full rate')
})
