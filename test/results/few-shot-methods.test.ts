// Logistic regression of the few-shot runs, compared with scikit-learn.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fitLogisticRegression } from '../../bench/results/few-shot-methods.js'

const [N, H] = [24, 4]
const vectors = Float32Array.from({ length: N * H }, (_, at) => {
  const [i, j] = [Math.floor(at / H), at % H]
  return (((i * 7 + j * 13 + i * i * 3) % 17) - 8) / 4 + (i % 3 === j ? 0.8 : 0) + j * 0.5
})

// predict_proba of LogisticRegression(C=1, tol=1e-8) of scikit-learn 1.x on the same vectors, whose row i has class i % C.
const expected: Readonly<Record<number, readonly (readonly number[])[]>> = {
  2: [
    [0.38793, 0.61207],
    [0.38021, 0.61979],
    [0.59424, 0.40576],
    [0.51689, 0.48311],
  ],
  3: [
    [0.28873, 0.339, 0.37227],
    [0.14967, 0.73766, 0.11268],
    [0.41687, 0.12322, 0.45991],
    [0.54737, 0.16928, 0.28335],
  ],
}

for (const [labels, probabilities] of Object.entries(expected))
  test(`fits ${labels} labels like scikit-learn with its default penalty`, async () => {
    const C = Number(labels)
    const targets = Float32Array.from({ length: N * C }, (_, at) => (Math.floor(at / C) % C === at % C ? 1 : 0))
    const { weight, bias } = await fitLogisticRegression(
      { vectors, targets, counted: new Float32Array(N).fill(1) },
      C,
      H,
    )
    for (const [i, row] of probabilities.entries()) {
      const powers = row.map((_, c) =>
        Math.exp((bias[c] ?? 0) + dot(weight.subarray(c * H, (c + 1) * H), vectors.subarray(i * H, (i + 1) * H))),
      )
      const sum = powers.reduce((all, power) => all + power, 0)
      for (const [c, value] of row.entries())
        assert.ok(Math.abs((powers[c] ?? 0) / sum - value) < 2e-3, `row ${i}, class ${c}: ${(powers[c] ?? 0) / sum}`)
    }
  })

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0)
