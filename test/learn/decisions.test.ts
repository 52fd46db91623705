import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LabelSpace } from '../../src/data/label-space.js'
import { calibrationError, crossFittedCalibrationError } from '../../src/learn/calibration-error.js'
import { decide } from '../../src/learn/decisions.js'
import type { Evaluation } from '../../src/learn/evaluated-examples.js'
import { scoreOf } from '../../src/learn/evaluation.js'
import type { ExampleSet } from '../../src/learn/example-set.js'
import { labelWarnings } from '../../src/learn/label-warnings.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { Random } from '../../src/learn/random.js'

const logit = (probability: number) => Math.log(probability / (1 - probability))
const starts = (examples: number) => Int32Array.from({ length: examples + 1 }, (_, at) => at)
const near = (found: number, expected: number) => assert.ok(Math.abs(found - expected) < 1e-6, `${found}, ${expected}`)

function evaluationOf(space: LabelSpace, outputs: readonly number[], actual: readonly number[]): Evaluation {
  const all = Float32Array.from(outputs)
  const predictions = problemTraits[space.problem].predictions(space, all)
  return { outputs: all, predictions, actual: Float32Array.from(actual), starts: starts(outputs.length / 2) }
}

const several: LabelSpace = { problem: 'multi_label_classification', labels: ['frequent', 'rare'] }
const probabilities = [
  [0.9, 0.2],
  [0.3, 0.18],
  [0.2, 0.02],
  [0.1, 0.01],
]
const outputs = probabilities.flat().map(logit)
const applies = [1, 0, 0, 1, 1, 0, 0, 0]

test('each label of a multi-label task gets the threshold with the largest expected F1 if labels have as many examples', () => {
  const both = probabilities.flatMap(([own = 0]) => [own, own]).map(logit)
  const { space, evaluation } = decide(several, 'macro_f1', 'auto', evaluationOf(several, both, applies))
  const thresholds = space.thresholds as Float32Array
  // 1.5 are expected: 1.8/2.5 for the first, 2.4/3.5 for two.
  for (const threshold of thresholds) near(threshold, (0.9 + 0.3) / 2)
  assert.deepEqual([...evaluation.predictions], [1, 1, 0, 0, 0, 0, 0, 0])
})

test('the threshold of a label with few examples is near the usual one for labels of its frequency', () => {
  const three: LabelSpace = { problem: 'multi_label_classification', labels: ['frequent', 'rare', 'as rare'] }
  // Two rare labels with the same expected examples: their own thresholds differ, and the usual one is between them.
  const rows = [
    [0.9, 0.4, 0.25],
    [0.9, 0.05, 0.2],
    [0.1, 0.03, 0.03],
    [0.1, 0.02, 0.02],
  ]
  const found = decide(three, 'macro_f1', 'auto', evaluationOf(three, rows.flat().map(logit), []))
  const [, rare = 0, asRare = 0] = found.space.thresholds as Float32Array
  // Own thresholds: (0.4 + 0.05)/2 for one prediction, and (0.2 + 0.03)/2 for two.
  const own = [logit(0.225), logit(0.115)] as const
  const usual = (own[0] + own[1]) / 2
  near(logit(rare), (0.5 * own[0] + 20 * usual) / 20.5)
  near(logit(asRare), (0.5 * own[1] + 20 * usual) / 20.5)
})

test('a multi-label task that is judged by micro F1 gets one threshold for all labels', () => {
  const { space } = decide(several, 'micro_f1', 'auto', evaluationOf(several, outputs, applies))
  const [first, second] = space.thresholds as Float32Array
  // 1.91 expected: 1.8/2.91 for one, 2.4/3.91 for two, 2.8/4.91 for three.
  near(first ?? 0, (0.9 + 0.3) / 2)
  assert.equal(first, second)
})

test('a given threshold stays', () => {
  const given = { ...several, thresholds: 0.4 }
  assert.equal(decide(given, 'macro_f1', 'auto', evaluationOf(given, outputs, applies)).space.thresholds, 0.4)
})

// 4 of 40 examples are positive, with a probability of 0.4; one negative example looks the same.
const single: LabelSpace = { problem: 'single_label_classification', labels: ['negative', 'positive'] }
const positives = Array.from({ length: 40 }, (_, at) => (at < 4 ? 1 : 0))
const rareOutputs = positives.flatMap((_, at) => [0, logit(at < 5 ? 0.4 : 0.05)])
const rare = evaluationOf(single, rareOutputs, positives)

test('a rare label is predicted if the metric counts all labels equally, and otherwise only where it is more probable', () => {
  const byAccuracy = decide(single, 'accuracy', 'auto', rare)
  assert.equal(byAccuracy.space.thresholds, undefined)
  assert.equal(byAccuracy.evaluation.predictions.indexOf(1), -1)
  const byF1 = decide(single, 'macro_f1', 'auto', rare)
  assert.deepEqual(
    Array.from(byF1.evaluation.predictions, (label, at) => label === 1 && at),
    positives.map((_, at) => at < 5 && at),
  )
  assert.ok(scoreOf('macro_f1', byF1.space, byF1.evaluation) > 0.9)
  assert.equal(decide(single, 'macro_f1', 'none', rare).space.thresholds, undefined)
  const balanced = decide(single, 'accuracy', 'balanced', rare).space.thresholds as Float32Array
  near(balanced[1] ?? 0, 5 / 42)
})

test('the calibration error of a classification is that of its predictions, of several labels that of all of them', () => {
  // 35 predictions with confidence 0.95 and 5 with 0.6, of which 4 are wrong.
  near(calibrationError(single, rare) ?? Number.NaN, (35 * 0.05 + Math.abs(5 * 0.6 - 1)) / 40)
  const each = evaluationOf(several, [0.95, 0.25, 0.35, 0.15].map(logit), [1, 0, 0, 1])
  near(calibrationError(several, each) ?? Number.NaN, (0.05 + 0.25 + 0.35 + 0.85) / 4)
  assert.equal(calibrationError({ problem: 'regression', labels: [] }, rare), undefined)
})

test('the cross-fitted calibration error is of probabilities that the other half of the examples calibrated', () => {
  // Outputs are ten times too large, and every fourth prediction is wrong: calibrated, the confidence is 0.75.
  const labels = Array.from({ length: 80 }, (_, at) => (at % 4 === 0 ? 1 : 0))
  const evaluation = evaluationOf(
    single,
    labels.flatMap(() => [10 * logit(0.75), 0]),
    labels,
  )
  const error = crossFittedCalibrationError(single, evaluation.outputs, evaluation, new Random(1, 'test'))
  assert.ok((calibrationError(single, evaluation) ?? 0) > 0.2)
  // This seed puts 13 wrong predictions into one half and 7 into the other, so each half gets the confidence of the other.
  assert.ok(Math.abs((error ?? Number.NaN) - (33 - 27) / 40) < 1e-4, `${error}`)
})

const setOf = (targets: readonly number[]) => ({ targets: Float32Array.from(targets) }) as ExampleSet

test('warns of outliers among numbers, and of a label that accuracy hardly notices', () => {
  const numbers: LabelSpace = { problem: 'regression', labels: [] }
  const even = Array.from({ length: 100 }, (_, at) => (at - 49.5) / 29)
  assert.deepEqual(labelWarnings(numbers, setOf(even), 'r2'), [])
  assert.match(labelWarnings(numbers, setOf([...even, 500]), 'r2')[0] ?? '', /^1 % of the labels account for 100 %/)
  const labels = Array.from({ length: 100 }, (_, at) => (at < 2 ? 1 : 0))
  assert.match(
    labelWarnings(single, setOf(labels), 'accuracy')[0] ?? '',
    /^only 2 % of the examples have .* "positive"/,
  )
  assert.deepEqual(labelWarnings(single, setOf(labels), 'macro_f1'), [])
  assert.deepEqual(labelWarnings(single, setOf(labels.map((_, at) => at % 2)), 'accuracy'), [])
})

test('labels such as timestamps keep their differences', () => {
  const space: LabelSpace = { problem: 'regression', labels: [], spread: { mean: 1_700_000_030, deviation: 20 } }
  const { targets, labelsOf } = problemTraits.regression
  const times = [1_700_000_010, 1_700_000_031, 1_700_000_050]
  const standardised = times.flatMap((label) => Array.from(targets(space, { place: 'x', text: 'x', label })))
  for (const [at, time] of labelsOf(space, Float32Array.from(standardised)).entries()) near(time, times[at] ?? 0)
})
