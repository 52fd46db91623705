// The comparison with linear models: the models themselves, compared with scikit-learn, the splits, and the table.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { linearModelsTable, splitLines } from '../../bench/results/linear-models.js'
import { fitBalanced, fitRidge } from '../../bench/results/linear-rivals.js'
import type { LinearHead } from '../../src/learn/linear-head.js'

const [N, H] = [24, 4]
const counted = new Float32Array(N).fill(1)
const vectors = Float32Array.from({ length: N * H }, (_, at) => {
  const [i, j] = [Math.floor(at / H), at % H]
  return (((i * 7 + j * 13 + i * i * 3) % 17) - 8) / 4 + (i % 3 === j ? 0.8 : 0) + j * 0.5
})

/** Outputs of a head for the first vectors. */
const outputsOf = ({ weight, bias }: LinearHead, count: number) =>
  Array.from({ length: count }, (_, i) =>
    Array.from(bias, (shift, c) =>
      vectors.subarray(i * H, (i + 1) * H).reduce((sum, value, j) => sum + value * (weight[c * H + j] ?? 0), shift),
    ),
  )

function assertClose(actual: readonly (readonly number[])[], expected: readonly (readonly number[])[], most: number) {
  for (const [i, row] of expected.entries())
    for (const [c, value] of row.entries())
      assert.ok(
        Math.abs((actual[i]?.[c] ?? 0) - value) < most,
        `row ${i}, output ${c}: ${actual[i]?.[c]}, not ${value}`,
      )
}

test('fits labels like balanced logistic regression of scikit-learn', async () => {
  // Two labels: rows 0, 5, 10 and so on, and rows whose number is 1 or 2 modulo 4.
  const targets = Float32Array.from({ length: N * 2 }, (_, at) => {
    const i = Math.floor(at / 2)
    return Number(at % 2 === 0 ? i % 5 === 0 : i % 4 === 1 || i % 4 === 2)
  })
  const head = await fitBalanced({ vectors, targets, counted }, 2, H)
  // decision_function of OneVsRestClassifier(LogisticRegression(C=1, class_weight='balanced', tol=1e-8))
  assertClose(
    outputsOf(head, 4),
    [
      [0.2653, 0.6533],
      [-1.4358, 0.3537],
      [-1.0356, 0.411],
      [0.8521, -1.1792],
    ],
    1e-2,
  )
})

test('fits numbers like ridge regression of scikit-learn', () => {
  const targets = Float32Array.from({ length: N }, (_, i) => ((i * 5) % 11) / 2)
  // predict of Ridge(alpha)
  assertClose(
    outputsOf(fitRidge({ vectors, targets, counted }, H, 1), 4),
    [[2.11866], [3.06512], [2.44944], [2.21015]],
    1e-4,
  )
  assertClose(
    outputsOf(fitRidge({ vectors, targets, counted }, H, 100), 4),
    [[2.37854], [2.47328], [2.43566], [2.33559]],
    1e-4,
  )
})

test('the first split is that of the files, and others divide all rows into parts of the same sizes', () => {
  const [train, test] = [
    ['a', 'b', 'c'],
    ['d', 'e'],
  ]
  assert.deepEqual(splitLines(train, test, 1), { train, test })
  const second = splitLines(train, test, 2)
  assert.deepEqual([second.train.length, second.test.length], [3, 2])
  assert.deepEqual([...second.train, ...second.test].sort(), ['a', 'b', 'c', 'd', 'e'])
  assert.deepEqual(splitLines(train, test, 2), second)
})

test('the table has a row for each split and their mean, with the gain in points', () => {
  const one = { set: 'tags', metric: 'macro_f1', rival: 'logistic regression' }
  const table = linearModelsTable([
    { ...one, split: 1, learn: 0.41, rivalScore: 0.4 },
    { ...one, split: 2, learn: 0.38, rivalScore: 0.41 },
    { ...one, split: 1, metric: 'average_precision', learn: 0.5, rivalScore: 0.25 },
  ])
  assert.deepEqual(table.split('\n').slice(2), [
    '| tags, split 1 | macro_f1 | 0.4100 | logistic regression | 0.4000 | +1.0 |',
    '| tags, split 2 | macro_f1 | 0.3800 | logistic regression | 0.4100 | −3.0 |',
    '| **tags, mean of 2 splits** | macro_f1 | 0.3950 | logistic regression | 0.4050 | −1.0 |',
    '| tags, split 1 | average_precision | 0.5000 | logistic regression | 0.2500 | +25.0 |',
  ])
})
