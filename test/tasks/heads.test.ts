import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Thresholds } from '../../src/petl/task.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { finish } from '../../src/steps.js'
import type { ScoreOptions } from '../../src/tasks/heads.js'
import * as heads from '../../src/tasks/heads.js'
import { changedTask, distance, floats, headOf, taskBytes } from '../material.js'

const { logitsOf } = heads
const classify = (labels: readonly string[], logits: Float64Array, options: ScoreOptions) =>
  finish(heads.classify(labels, logits, options))
const classifyEach = (labels: readonly string[], logits: Float64Array, options: ScoreOptions) =>
  finish(heads.classifyEach(labels, logits, options))
const labelsReaching = (threshold: Thresholds, labels: readonly string[], logits: Float64Array) =>
  finish(heads.labelsReaching(threshold, labels, logits))

const logits = Float64Array.of(-1, 2, 0.5)
const labels = ['a', 'b', 'c']

describe('heads', () => {
  test('single-label scores are a softmax, in the order of the labels', () => {
    const { label, score, scores: all } = classify(labels, logits, { rawScores: false })
    assert.equal(label, 'b')
    assert.deepEqual(
      all.map((each) => each.label),
      ['a', 'b', 'c'],
    )
    // exp(-1), exp(2), exp(0.5) over their sum, by hand
    assert.ok(
      distance(
        all.map((each) => each.score),
        [0.0391, 0.7856, 0.1753],
      ) < 1e-4,
    )
    assert.equal(score, all[1]?.score)
  })

  test('each multi-label score is a sigmoid', () => {
    const { scores: all } = classifyEach(labels, logits, { rawScores: false })
    assert.ok(
      distance(
        all.map((each) => each.score),
        [0.2689, 0.8808, 0.6225],
      ) < 1e-4,
    )
  })

  test('labels apply if their probability reaches the threshold, best first', () => {
    const reaching = (threshold: number) => labelsReaching(threshold, labels, logits)
    assert.deepEqual(reaching(0.5), ['b', 'c'])
    assert.deepEqual(reaching(0.2), ['b', 'c', 'a'])
    assert.deepEqual(reaching(0.9), [])
    assert.deepEqual(labelsReaching(0.5, ['zero'], Float64Array.of(0)), ['zero'])
    // The probabilities are 0.27, 0.88 and 0.62.
    assert.deepEqual(labelsReaching(Float32Array.of(0.25, 0.9, 0.6), labels, logits), ['c', 'a'])
  })

  test('the best label is the one whose probability is largest relative to its threshold', () => {
    const thresholds = Float32Array.of(0.05, 0.9, 0.05)
    const { label, score, scores } = finish(heads.classify(labels, logits, { rawScores: true }, thresholds))
    assert.deepEqual([label, score], ['c', 0.5])
    assert.deepEqual(
      scores.map((each) => each.score),
      [...logits],
    )
    const best = finish(heads.classify(labels, logits, { rawScores: true, topK: 2 }, thresholds))
    assert.deepEqual([best.label, best.scores.map((each) => each.label)], ['c', ['c', 'b']])
  })

  test('raw scores are logits; top_k selects the best, best first', () => {
    const { scores: best } = classify(labels, logits, { rawScores: true, topK: 2 })
    assert.deepEqual(best, [
      { label: 'b', score: 2 },
      { label: 'c', score: 0.5 },
    ])
  })

  test('huge logits stay finite', () => {
    const { scores: all } = classify(labels, Float64Array.of(1e300, -1e300, 0), { rawScores: false })
    assert.deepEqual(
      all.map((each) => each.score),
      [1, 0, 0],
    )
  })

  test('the dense layer and its activation are applied before the output layer', () => {
    const head = (activation: string) =>
      headOf(
        readTaskFile(
          changedTask(taskBytes('sst2'), {
            metadata: { head_activation: activation, labels: '["a"]' },
            tensors: {
              'head.dense.weight': floats([2, 3], [1, 0, 0, 0, -2, 0]),
              'head.dense.bias': floats([2], [0, 1]),
              'head.weight': floats([1, 2], [3, 5]),
              'head.bias': floats([1], [0.25]),
            },
          }),
        ),
      )
    const x = Float32Array.of(0.5, 2, 9)
    assert.ok(distance(logitsOf(head('tanh'), x), [0.25 + 3 * Math.tanh(0.5) + 5 * Math.tanh(-3)]) < 1e-12)
    assert.deepEqual(Array.from(logitsOf(head('relu'), x)), [0.25 + 1.5])
    assert.deepEqual(Array.from(logitsOf(head('none'), x)), [0.25 + 1.5 - 15])
  })
})
