import assert from 'node:assert/strict'
import { test } from 'node:test'
import { calibrate } from '../../src/learn/calibration.js'
import { compareInBins } from '../../src/learn/reliability.js'

const [N, C] = [40, 3]
const outputs = Float32Array.from({ length: N * C }, (_, at) => {
  const [i, j] = [Math.floor(at / C), at % C]
  return (((i * 7 + j * 11) % 13) - 6) / 1.5 + ((i * i) % 3 === j && i % 4 !== 0 ? 3 : 0)
})
const classes = Float32Array.from({ length: N * C }, (_, at) => (Math.floor(at / C) ** 2 % 3 === at % C ? 1 : 0))
const several = Float32Array.from({ length: N * C }, (_, at) =>
  (Math.floor(at / C) + (at % C)) % 3 === 0 || (outputs[at] ?? 0) > 3 ? 1 : 0,
)

const near = (actual: number, expected: number, tolerance = 1e-3) =>
  assert.ok(Math.abs(actual - expected) < tolerance, `${actual} instead of ${expected}`)

// The expected factors and losses are those of scipy.optimize.minimize_scalar on the same values.
test('finds the temperature of a classification', () => {
  const { factor, shifts, loss } = calibrate('single_label_classification', { outputs, targets: classes, width: C })
  near(factor, 0.296692)
  near(loss, 0.909433)
  assert.deepEqual([...shifts], [0, 0, 0])
})

test('finds the factor and the shifts of a multi-label classification', () => {
  const { factor, shifts, loss } = calibrate('multi_label_classification', { outputs, targets: several, width: C })
  near(factor, 0.411003)
  for (const [label, shift] of [-0.414929, -0.244149, -0.352349].entries()) near(shifts[label] ?? 0, shift)
  near(loss, 0.566613)
})

test('finds the least squares line of a regression', () => {
  const values = Float32Array.from({ length: N }, (_, i) => outputs[i * C] ?? 0)
  const targets = Float32Array.from(values, (value, i) => 0.5 * value + 1 + ((i % 5) - 2) * 0.2)
  const { factor, shifts, loss } = calibrate('regression', { outputs: values, targets, width: 1 })
  near(factor, 0.502352)
  near(shifts[0] ?? 0, 0.998471)
  near(loss, 0.079957)
})

test('leaves out words without token', () => {
  const withGap = Float32Array.of(...outputs, Number.NaN, Number.NaN, Number.NaN)
  const targets = Float32Array.of(...classes, 1, 0, 0)
  const { factor } = calibrate('token_classification', { outputs: withGap, targets, width: C })
  near(factor, 0.296692)
})

test('the calibration error is the mean distance between confidence and accuracy of ten bins', () => {
  // Two bins: 0.95 and 0.91 with one right of two, 0.62 and 0.68 with both right.
  const { error } = compareInBins([0.95, 0.91, 0.62, 0.68], [1, 0, 1, 1])
  near(error, (Math.abs(1.86 - 1) + Math.abs(1.3 - 2)) / 4, 1e-9)
})
