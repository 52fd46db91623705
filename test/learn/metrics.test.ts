import assert from 'node:assert/strict'
import { test } from 'node:test'
import { tagsOf } from '../../src/formats/iob.js'
import {
  accuracy,
  confusion,
  f1,
  macroF1,
  matthews,
  pearson,
  r2,
  spanCounts,
  spanF1,
  spearman,
} from '../../src/learn/metrics.js'

const close = (found: number, expected: number) =>
  assert.ok(Math.abs(found - expected) < 1e-12, `${found}, ${expected}`)

// 6 true positives, 1 false positive, 2 false negatives, 3 true negatives.
const actual = [1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
const predicted = [1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 0]

test('accuracy, F1 and Matthews for two classes follow their definitions', () => {
  close(accuracy(predicted, actual), 9 / 12)
  const positive = (2 * 6) / (2 * 6 + 1 + 2)
  const negative = (2 * 3) / (2 * 3 + 2 + 1)
  close(macroF1(predicted, actual, 2), (positive + negative) / 2)
  close(f1(predicted, actual, 2), positive)
  close(matthews(predicted, actual, 2), (6 * 3 - 1 * 2) / Math.sqrt(7 * 8 * 4 * 5))
})

test('macro F1 ignores labels that neither occur nor are predicted', () => close(macroF1([0, 1, 1], [0, 1, 1], 5), 1))

test('Matthews is 1 if three classes are all correct, and 0 if only one class is predicted', () => {
  close(matthews([0, 1, 2, 1], [0, 1, 2, 1], 3), 1)
  assert.equal(matthews([1, 1, 1], [0, 1, 2], 3), 0)
})

test('Pearson and Spearman follow their definitions', () => {
  close(pearson([1, 2, 3, 4], [3, 5, 7, 9]), 1)
  close(pearson([1, 2, 3], [3, 2, 1]), -1)
  // Covariance 3 of deviations (−1, 0, 1) and (−1.67, −0.67, 2.33): 4 / √(2 · 8.67)
  close(pearson([1, 2, 3], [1, 2, 5]), 4 / Math.sqrt(2 * (26 / 3)))
  assert.equal(pearson([1, 1, 1], [1, 2, 3]), 0)
  close(spearman([10, 20, 30, 1000], [1, 2, 3, 4]), 1)
  // Ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3: 4.5 / √(4.5 · 5)
  close(spearman([1, 7, 7, 9], [1, 2, 3, 4]), 4.5 / Math.sqrt(4.5 * 5))
})

const labels = ['O', 'B-PER', 'I-PER', 'B-LOC', 'I-LOC']
/** F1 of texts, given as "actual labels / predicted labels"; - means no prediction. */
function spans(...texts: readonly string[]): number {
  const starts = [0]
  const sides: [number[], number[]] = [[], []]
  for (const text of texts) {
    for (const [side, words] of text.split(' / ').entries())
      sides[side]?.push(...words.split(' ').map((label) => labels.indexOf(label)))
    starts.push(sides[0].length)
  }
  return spanF1(spanCounts(sides[1], sides[0], starts, tagsOf(labels) ?? []))
}

test('R² and Pearson are 0 for equal numbers that binary fractions do not have', () => {
  const equal = new Array<number>(7).fill(0.1)
  const predicted = [1, 2, 3, 4, 5, 6, 8]
  assert.equal(r2(predicted, equal), 0)
  assert.equal(pearson(predicted, equal), 0)
})

test('span F1 requires the type and both ends, over all texts together', () => {
  close(spans('B-PER I-PER O B-LOC / B-PER I-PER O B-LOC'), 1)
  // One of two found; another type; too short.
  close(spans('B-PER I-PER O B-LOC / B-PER I-PER O O'), (2 * 1) / (2 + 1))
  close(spans('B-PER I-PER / B-LOC I-LOC'), 0)
  close(spans('B-PER I-PER / B-PER O'), 0)
  // 3 actual, 5 predicted, 2 correct, in texts with 1 and with 2 entities.
  close(spans('B-PER O / B-PER B-LOC', 'B-LOC O B-PER I-PER / B-LOC O B-PER B-PER'), (2 * 2) / (3 + 5))
  assert.equal(spans('O O / O O'), 0)
})

test('spans begin and end as in conlleval', () => {
  // An I- without a preceding span begins one.
  close(spans('B-PER I-PER O / I-PER I-PER O'), 1)
  // An I- of another type ends one span and begins the next: 2 predicted, 1 actual, none correct.
  close(spans('B-PER I-PER / B-PER I-LOC'), 0)
  close(spans('B-PER B-LOC / B-PER I-LOC'), 1)
  // Two adjacent spans of one type are not one span.
  close(spans('B-PER B-PER / B-PER I-PER'), 0)
  // A span does not continue in the next text.
  close(spans('O B-PER / O B-PER', 'B-PER O / I-PER O'), 1)
  // A word without a prediction, because it was truncated, is outside.
  close(spans('B-PER I-PER B-LOC / B-PER - B-LOC'), (2 * 1) / (2 + 2))
})

test('a missing prediction is wrong, and is not counted as another label', () => {
  close(accuracy([1, -1, 0], [1, 0, 0]), 2 / 3)
  assert.deepEqual([...confusion([1, -1, 0], [1, 0, 0], 2)], [1, 0, 0, 1])
})
