import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { LabelSpace } from '../../src/data/label-space.js'
import type { Evaluation } from '../../src/learn/evaluated-examples.js'
import { metricTable } from '../../src/learn/metric-table.js'
import type { Metric } from '../../src/learn/metrics.js'
import { problemTraits } from '../../src/learn/problem-traits.js'

type Scores = Readonly<Partial<Record<Metric, number>>>

/** Written by make.py in the same folder, with scikit-learn, SciPy and seqeval. */
const fixtures = JSON.parse(readFileSync('test/fixtures/metrics/metrics.json', 'utf8')) as {
  readonly tags: string[]
  readonly single: { labels: number; predicted: number[]; actual: number[]; scores: Scores }[]
  readonly multi: { labels: number; outputs: number[][]; actual: number[][]; scores: Scores }[]
  readonly regression: { predicted: number[]; actual: number[]; scores: Scores }[]
  readonly entities: { predicted: string[][]; actual: string[][]; scores: Scores }[]
}

const names = (count: number) => Array.from({ length: count }, (_, at) => `label ${at}`)
const oneEach = (examples: number) => Int32Array.from({ length: examples + 1 }, (_, at) => at)

function check(space: LabelSpace, evaluation: Evaluation, scores: Scores): void {
  for (const [metric, expected] of Object.entries(scores) as [Metric, number][]) {
    const found = metricTable[metric].score(space, evaluation)
    assert.ok(Math.abs(found - expected) < 1e-6, `${metric}: ${found} instead of ${expected}`)
  }
}

test('metrics of single labels equal those of scikit-learn', () => {
  for (const { labels, predicted, actual, scores } of fixtures.single) {
    const space: LabelSpace = { problem: 'single_label_classification', labels: names(labels) }
    const [predictions, outputs] = [Float32Array.from(predicted), new Float32Array()]
    const evaluation = { outputs, predictions, actual: Float32Array.from(actual), starts: oneEach(actual.length) }
    check(space, evaluation, scores)
  }
})

test('metrics of several labels equal those of scikit-learn, also for a label that neither occurs nor is predicted', () => {
  for (const { labels, outputs, actual, scores } of fixtures.multi) {
    const space: LabelSpace = { problem: 'multi_label_classification', labels: names(labels) }
    const all = Float32Array.from(outputs.flat())
    const predictions = problemTraits.multi_label_classification.predictions(space, all)
    const evaluation = {
      outputs: all,
      predictions,
      actual: Float32Array.from(actual.flat()),
      starts: oneEach(actual.length),
    }
    check(space, evaluation, scores)
  }
})

test('metrics of numbers equal those of scikit-learn and SciPy', () => {
  const space: LabelSpace = { problem: 'regression', labels: [] }
  for (const { predicted, actual, scores } of fixtures.regression) {
    const predictions = Float64Array.from(predicted)
    const starts = oneEach(actual.length)
    check(space, { outputs: predictions, predictions, actual: Float64Array.from(actual), starts }, scores)
  }
})

test('the F1 of entities equals that of seqeval', () => {
  const { tags } = fixtures
  const space: LabelSpace = { problem: 'token_classification', labels: tags }
  const indexes = (texts: string[][]) => Float32Array.from(texts.flat(), (tag) => tags.indexOf(tag))
  for (const { predicted, actual, scores } of fixtures.entities) {
    const ends = actual.map((_, text) => actual.slice(0, text + 1).flat().length)
    const [predictions, starts] = [indexes(predicted), Int32Array.of(0, ...ends)]
    check(space, { outputs: new Float32Array(), predictions, actual: indexes(actual), starts }, scores)
  }
})

test('a sample of examples has the average precision of the examples in it', () => {
  const space: LabelSpace = { problem: 'multi_label_classification', labels: ['a'] }
  const evaluation = (outputs: number[], actual: number[]) => ({
    outputs: Float32Array.from(outputs),
    predictions: new Float32Array(),
    actual: Float32Array.from(actual),
    starts: oneEach(actual.length),
  })
  const { scorer, score } = metricTable.average_precision
  const sampled = scorer?.(space, evaluation([3, 2, 1, 0], [0, 1, 0, 1]))(Int32Array.of(1, 3, 1, 2))
  const drawn = score(space, evaluation([2, 0, 2, 1], [1, 1, 1, 0]))
  assert.ok(Math.abs((sampled ?? 0) - drawn) < 1e-12)
})
