// Scores of labels and calibration against scikit-learn, seqeval and numpy (test/fixtures/metrics/make_label_scores.py).

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import type { LabelSpace } from '../../src/data/label-space.js'
import { UnlearnedLabels } from '../../src/data/unlearned-labels.js'
import { findConfusions } from '../../src/learn/confusions.js'
import { reliabilityOf } from '../../src/learn/reliability.js'
import { type LabelTable, labelTable, type Scores } from '../../src/report/label-scores.js'
import { root } from '../material.js'

interface Row {
  readonly precision: number
  readonly recall: number
  readonly 'f1-score': number
  readonly support: number
}

interface Case {
  readonly labels: readonly string[]
  readonly actual: readonly number[]
  readonly predicted: readonly number[]
  readonly outputs?: readonly number[]
  readonly starts?: readonly number[]
  readonly calibration_error?: number
  readonly report: Readonly<Record<string, Row>>
}

const cases = JSON.parse(readFileSync(join(root, 'test/fixtures/metrics/label_scores.json'), 'utf8')) as Readonly<
  Record<'single' | 'multi' | 'entities', Case>
>

const evaluationOf = ({ labels, actual, predicted, outputs = [], starts }: Case, width = 1) => ({
  outputs: Float32Array.from(outputs),
  predictions: Float32Array.from(predicted),
  actual: Float32Array.from(actual),
  starts: Int32Array.from(starts ?? Array.from({ length: actual.length / width + 1 }, (_, i) => i)),
  labels,
})

const close = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-6, `${a} is not ${b}`)

function assertScores(scores: Scores | undefined, expected: Row | undefined) {
  assert.ok(scores && expected)
  close(scores.precision, expected.precision)
  close(scores.recall, expected.recall)
  close(scores.f1, expected['f1-score'])
  assert.equal(scores.support, expected.support)
}

function assertTable(table: LabelTable | undefined, { report }: Case, labels: readonly string[]) {
  assert.ok(table)
  assert.deepEqual(
    table.labels.map(({ label }) => label),
    labels,
  )
  for (const scores of table.labels) assertScores(scores, report[scores.label])
  assertScores(table.macro, report['macro avg'])
  assertScores(table.weighted, report['weighted avg'])
  if (report['micro avg']) assertScores(table.micro, report['micro avg'])
}

describe('scores of labels', () => {
  test('of one label per example are those of scikit-learn, without labels that do not occur', () => {
    const { single } = cases
    const space: LabelSpace = { problem: 'single_label_classification', labels: single.labels }
    const table = labelTable(space, evaluationOf(single))
    assertTable(table, single, ['a', 'b', 'c', 'd'])
    close(table?.micro.f1 ?? 0, single.report.accuracy as unknown as number)
    assert.equal(table?.unit, 'examples')
  })

  test('of several labels per example are those of scikit-learn', () => {
    const { multi } = cases
    const space: LabelSpace = { problem: 'multi_label_classification', labels: multi.labels }
    assertTable(labelTable(space, evaluationOf(multi, 3)), multi, ['x', 'y', 'z'])
  })

  test('of entities are those of seqeval', () => {
    const { entities } = cases
    const space: LabelSpace = { problem: 'token_classification', labels: entities.labels }
    const table = labelTable(space, evaluationOf(entities))
    assertTable(table, entities, ['LOC', 'PER'])
    assert.equal(table?.unit, 'entities')
  })

  test('of words without a prediction count as not found', () => {
    const space: LabelSpace = { problem: 'token_classification', labels: ['noun', 'verb'] }
    const table = labelTable(space, {
      predictions: Float32Array.of(0, -1, 1),
      actual: Float32Array.of(0, 0, 1),
      starts: Int32Array.of(0, 3),
    })
    assert.deepEqual(table?.labels, [
      { label: 'noun', precision: 1, recall: 0.5, f1: 2 / 3, support: 2 },
      { label: 'verb', precision: 1, recall: 1, f1: 1, support: 1 },
    ])
  })

  test('have labels that were not learned, and confusions with them', () => {
    const unlearned = new UnlearnedLabels()
    const space: LabelSpace = { problem: 'single_label_classification', labels: ['a', 'b'], unlearned }
    const evaluation = {
      predictions: Float32Array.of(0, 1, 1),
      actual: Float32Array.of(0, 1, 2 + unlearned.indexOf('new', 'a.csv:4')),
      starts: Int32Array.of(0, 1, 2, 3),
    }
    assert.deepEqual(labelTable(space, evaluation)?.labels.at(-1), {
      label: 'new',
      precision: 0,
      recall: 0,
      f1: 0,
      support: 1,
    })
    assert.deepEqual(findConfusions(space, evaluation), [{ actual: 'new', predicted: 'b', rows: 1, of: 1 }])
  })

  test('do not exist for numbers', () => {
    const numbers = { predictions: Float32Array.of(1), actual: Float32Array.of(1), starts: Int32Array.of(0, 1) }
    assert.equal(labelTable({ problem: 'regression', labels: [] }, numbers), undefined)
    assert.deepEqual(findConfusions({ problem: 'regression', labels: [] }, numbers), [])
  })
})

describe('calibration', () => {
  test('of one label per example has the error that numpy computes, and bins that add up to it', () => {
    const { single } = cases
    const space: LabelSpace = { problem: 'single_label_classification', labels: single.labels }
    const reliability = reliabilityOf(space, evaluationOf(single))
    assert.ok(reliability)
    close(reliability.error, single.calibration_error ?? 0)
    const { bins } = reliability
    assert.equal(
      bins.reduce((sum, { count }) => sum + count, 0),
      120,
    )
    close(
      bins.reduce((sum, { count, confidence, accuracy }) => sum + (count / 120) * Math.abs(confidence - accuracy), 0),
      reliability.error,
    )
    for (const { from, to, confidence } of bins) assert.ok(from <= confidence && confidence <= to)
  })

  test('of several labels per example compares the probability of each label with how often it applies', () => {
    const { multi } = cases
    const space: LabelSpace = { problem: 'multi_label_classification', labels: multi.labels }
    close(reliabilityOf(space, evaluationOf(multi, 3))?.error ?? 0, multi.calibration_error ?? 0)
  })

  test('leaves out words without a prediction', () => {
    const space: LabelSpace = { problem: 'token_classification', labels: ['noun', 'verb'] }
    const reliability = reliabilityOf(space, {
      outputs: Float32Array.of(0, 0, Number.NaN, Number.NaN),
      predictions: Float32Array.of(0, -1),
      actual: Float32Array.of(0, 0),
      starts: Int32Array.of(0, 2),
    })
    assert.deepEqual(reliability, {
      error: 0.5,
      bins: [{ from: 0.5, to: 0.6, count: 1, confidence: 0.5, accuracy: 1 }],
    })
  })
})

describe('confusions', () => {
  test('count the pairs of labels, the most frequent first', () => {
    const space: LabelSpace = { problem: 'single_label_classification', labels: ['a', 'b', 'c'] }
    const found = findConfusions(space, {
      predictions: Float32Array.of(1, 1, 2, 0, 1, 2),
      actual: Float32Array.of(0, 0, 1, 0, 1, 2),
      starts: Int32Array.of(0, 1, 2, 3, 4, 5, 6),
    })
    assert.deepEqual(found, [
      { actual: 'a', predicted: 'b', rows: 2, of: 3 },
      { actual: 'b', predicted: 'c', rows: 1, of: 2 },
    ])
  })

  test('of several labels per example pair a missing label with a wrong one', () => {
    const space: LabelSpace = { problem: 'multi_label_classification', labels: ['a', 'b', 'c'] }
    const found = findConfusions(space, {
      predictions: Float32Array.of(0, 1, 0, 1, 1, 0),
      actual: Float32Array.of(1, 0, 0, 1, 0, 1),
      starts: Int32Array.of(0, 1, 2),
    })
    assert.deepEqual(found, [
      { actual: 'c', predicted: 'b', rows: 1, of: 1 },
      { actual: 'a', predicted: 'b', rows: 1, of: 2 },
    ])
  })
})
