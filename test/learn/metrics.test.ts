import assert from 'node:assert/strict'
import { test } from 'node:test'
import { accuracy, f1, macroF1, matthews, pearson, spearman } from '../../src/learn/metrics.js'

const close = (found: number, expected: number) =>
  assert.ok(Math.abs(found - expected) < 1e-12, `${found}, ${expected}`)

// 6 true positives, 1 false positive, 2 false negatives, 3 true negatives.
const actual = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
const predicted = [1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0]

test('accuracy, F1 and Matthews of two classes are those of the textbook', () => {
  close(accuracy(predicted, actual), 9 / 12)
  const positive = (2 * 6) / (2 * 6 + 1 + 2)
  const negative = (2 * 3) / (2 * 3 + 2 + 1)
  close(macroF1(predicted, actual, 2), (positive + negative) / 2)
  close(f1(predicted, actual, 2), positive)
  close(matthews(predicted, actual, 2), (6 * 3 - 1 * 2) / Math.sqrt(7 * 8 * 4 * 5))
})

test('labels that play no part do not count in macro F1', () => close(macroF1([0, 1, 1], [0, 1, 1], 5), 1))

test('Matthews is 1 for three classes told apart, and 0 where one class is all that is said', () => {
  close(matthews([0, 1, 2, 1], [0, 1, 2, 1], 3), 1)
  assert.equal(matthews([1, 1, 1], [0, 1, 2], 3), 0)
})

test('correlations', () => {
  close(pearson([1, 2, 3, 4], [3, 5, 7, 9]), 1)
  close(pearson([1, 2, 3], [3, 2, 1]), -1)
  // Covariance 3 of deviations (−1, 0, 1) and (−1.67, −0.67, 2.33): 4 / √(2 · 8.67)
  close(pearson([1, 2, 3], [1, 2, 5]), 4 / Math.sqrt(2 * (26 / 3)))
  assert.equal(pearson([1, 1, 1], [1, 2, 3]), 0)
  close(spearman([10, 20, 30, 1000], [1, 2, 3, 4]), 1)
  // Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3: 4.5 / √(4.5 · 5)
  close(spearman([1, 7, 7, 9], [1, 2, 3, 4]), 4.5 / Math.sqrt(4.5 * 5))
})
