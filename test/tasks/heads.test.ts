import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readTaskFile } from '../../src/formats/task-file.js'
import { type Classification, logitsOf, scoreTask } from '../../src/tasks/heads.js'
import { changedTask, distance, floats, taskBytes } from '../material.js'

const logits = Float64Array.of(-1, 2, 0.5)
const labels = { labels: '["a","b","c"]' }
const tensors = { 'head.weight': floats([3, 384], new Float32Array(3 * 384)), 'head.bias': floats([3], [0, 0, 0]) }
const task = (problemType: string) =>
  readTaskFile(changedTask(taskBytes('sst2'), { metadata: { ...labels, problem_type: problemType }, tensors }))
const scores = (problemType: string, options: { topK?: number; rawScores: boolean }) =>
  scoreTask(task(problemType), logits, options) as Classification

describe('heads', () => {
  test('single-label scores are a softmax, in the order of the labels', () => {
    const { label, score, scores: all } = scores('single_label_classification', { rawScores: false })
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

  test('multi-label scores are a sigmoid each', () => {
    const { scores: all } = scores('multi_label_classification', { rawScores: false })
    assert.ok(
      distance(
        all.map((each) => each.score),
        [0.2689, 0.8808, 0.6225],
      ) < 1e-4,
    )
  })

  test('raw scores are the head’s own outputs; top_k takes the best, best first', () => {
    const { scores: best } = scores('single_label_classification', { rawScores: true, topK: 2 })
    assert.deepEqual(best, [
      { label: 'b', score: 2 },
      { label: 'c', score: 0.5 },
    ])
  })

  test('huge logits stay finite', () => {
    const { scores: all } = scoreTask(task('single_label_classification'), Float64Array.of(1e300, -1e300, 0), {
      rawScores: false,
    }) as Classification
    assert.deepEqual(
      all.map((each) => each.score),
      [1, 0, 0],
    )
  })

  test('a dense layer and its activation come before the output', () => {
    const head = (activation: string) =>
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
      ).head
    const x = Float32Array.of(0.5, 2, 9)
    assert.ok(distance(logitsOf(head('tanh'), x), [0.25 + 3 * Math.tanh(0.5) + 5 * Math.tanh(-3)]) < 1e-12)
    assert.deepEqual(Array.from(logitsOf(head('relu'), x)), [0.25 + 1.5])
    assert.deepEqual(Array.from(logitsOf(head('none'), x)), [0.25 + 1.5 - 15])
  })
})
