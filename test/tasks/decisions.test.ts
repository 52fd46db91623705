import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Head } from '../../src/petl/task.js'
import { finish } from '../../src/steps.js'
import { type Decision, decideEach, decideOne } from '../../src/tasks/decisions.js'
import { labelWords } from '../../src/tasks/words.js'

const labels = ['a', 'b', 'c']
const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) < 1e-6, `${actual}, ${expected}`)
/** Logits with these probabilities. */
const logitsOf = (...probabilities: readonly number[]) => Float64Array.from(probabilities, Math.log)
const oddsOf = (...probabilities: readonly number[]) => Float64Array.from(probabilities, (p) => Math.log(p / (1 - p)))

describe('a decision for one label', () => {
  test('is unsure if the second label is as probable', () => {
    for (const [probabilities, uncertainty] of [
      [[0.6, 0.3, 0.1], 0.7],
      [[0.5, 0.5, 0], 1],
      [[0, 0, 1], 0],
    ] as const)
      near(finish(decideOne(labels, logitsOf(...probabilities))).uncertainty, uncertainty)
    const { label, score } = finish(decideOne(labels, logitsOf(0.1, 0.3, 0.6)))
    assert.equal(label, 'c')
    near(score, 0.6)
  })

  test('compares probabilities relative to their thresholds, and scores with the probability', () => {
    // Relative to the thresholds: 0.3, 0.6, 0.05; of all: 6/19, 12/19, 1/19.
    const thresholds = Float32Array.of(2, 0.5, 2)
    const { label, score, uncertainty } = finish(decideOne(labels, logitsOf(0.6, 0.3, 0.1), thresholds))
    assert.equal(label, 'b')
    near(score, 0.3)
    near(uncertainty, 1 - 6 / 19)
  })

  test('is certain with a single label, whatever the logit', () => {
    assert.equal(finish(decideOne(['only'], Float64Array.of(-700))).uncertainty, 0)
  })
})

describe('a decision for each label', () => {
  test('is as unsure as the label closest to its threshold', () => {
    const { label, score, uncertainty } = finish(decideEach(['a', 'b'], oddsOf(0.99, 0.6, 0.1), 0.5))
    assert.deepEqual(label, ['a', 'b'])
    near(score, 0.6)
    near(uncertainty, 0.8)
  })

  test('measures the distance relative to the farthest possible one', () => {
    const thresholds = Float32Array.of(0.9, 0.9)
    near(finish(decideEach([], oddsOf(0.45, 0.1), thresholds)).uncertainty, 0.5)
    near(finish(decideEach(['a'], oddsOf(0.95, 0.1), thresholds)).uncertainty, 0.5)
    near(finish(decideEach([], oddsOf(0.3), 0)).uncertainty, 0.7)
    near(finish(decideEach(['a'], oddsOf(0.3), 1)).uncertainty, 0.3)
  })
})

test('a decision for words has the label of each, and is as unsure as the least sure one', () => {
  const head = { output: { inputs: 2, outputs: 2, weight: Float32Array.of(1, 0, 0, 1), bias: new Float32Array(2) } }
  const words = [
    { token: 0, start: 0, end: 2 },
    { token: 1, start: 3, end: 5 },
  ]
  const hidden = Float32Array.of(Math.log(0.9), Math.log(0.1), Math.log(0.25), Math.log(0.75))
  const decisions: Decision[] = []
  const task = { labels: ['O', 'B-X'], head: head as unknown as Head }
  const options = { rawScores: true, topK: 1, onDecision: (made: Decision) => void decisions.push(made) }
  finish(labelWords(task, 'ab cd', words, hidden, options))
  const [{ uncertainty, ...decision }] = decisions as [Decision]
  assert.deepEqual(
    { ...decision, score: Math.round(decision.score * 1e6) / 1e6 },
    {
      ...{ label: ['O', 'B-X'], score: 0.75, tokens: ['ab', 'cd'] },
    },
  )
  near(uncertainty, 0.25)
  finish(labelWords(task, '', [], hidden, options))
  assert.equal(decisions.length, 1, 'a text without words decides nothing')
})
