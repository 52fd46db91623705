// Labels of examples: those that the task was not trained on, and lists of one label.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { LabelSpace } from '../../src/data/label-space.js'
import { UnlearnedLabels } from '../../src/data/unlearned-labels.js'
import type { Evaluation } from '../../src/learn/evaluated-examples.js'
import { scoreOf } from '../../src/learn/evaluation.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import type { ProblemType } from '../../src/petl/task.js'

/** @param rows the label of each row, and the label that is predicted */
function evaluated(problem: ProblemType, labels: readonly string[], rows: readonly (readonly [string, string])[]) {
  const unlearned = new UnlearnedLabels()
  const space: LabelSpace = { problem, labels, unlearned }
  const actual = rows.map(([label], at) => {
    const one = problem === 'single_label_classification' ? label : [label]
    return [...Array.from(problemTraits[problem].targets(space, { place: `dev.csv:${at + 2}`, text: 'x', label: one }))]
  })
  const predictions = rows.map(([, label]) =>
    problem === 'multi_label_classification' ? labels.map((name) => (name === label ? 1 : 0)) : [labels.indexOf(label)],
  )
  const evaluation: Evaluation = {
    outputs: new Float64Array(rows.length * labels.length),
    actual: Float32Array.from(actual.flat()),
    predictions: Float32Array.from(predictions.flat()),
    starts: Int32Array.from({ length: rows.length + 1 }, (_, at) => at),
  }
  return { space, evaluation, unlearned }
}

test('a label that was not learned counts as wrong, and a warning names it', () => {
  const rows = [
    ['a', 'a'],
    ['b', 'b'],
    ['new', 'a'],
    ['other', 'b'],
    ['new', 'b'],
  ] as const
  const { space, evaluation, unlearned } = evaluated('single_label_classification', ['a', 'b'], rows)
  assert.equal(scoreOf('accuracy', space, evaluation), 2 / 5)
  // f1_score(average="macro") of scikit-learn over a, b, new and other: 2/3, 1/2, 0, 0.
  assert.ok(Math.abs(scoreOf('macro_f1', space, evaluation) - (2 / 3 + 1 / 2) / 4) < 1e-9)
  assert.equal(
    unlearned.warning,
    'dev.csv:4: "new", "other" are not labels of the task; 3 labels count as predicted wrongly',
  )
  const targets = problemTraits.single_label_classification.lossTargets(space, Float32Array.from(evaluation.actual))
  assert.deepEqual([...targets], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
})

test('a label that was not learned lowers the F1 of multi-label and of entities', () => {
  const several = evaluated(
    'multi_label_classification',
    ['a', 'b'],
    [
      ['a', 'a'],
      ['b', 'b'],
      ['new', 'a'],
    ],
  )
  assert.ok(Math.abs(scoreOf('macro_f1', several.space, several.evaluation) - (2 / 3 + 1 + 0) / 3) < 1e-9)
  const entities = evaluated(
    'token_classification',
    ['B-PER', 'I-PER', 'O'],
    [
      ['B-PER', 'B-PER'],
      ['B-LOC', 'O'],
      ['O', 'O'],
    ],
  )
  // One of two entities is found: precision 1, recall 1/2.
  assert.ok(Math.abs(scoreOf('span_f1', entities.space, entities.evaluation) - 2 / 3) < 1e-9)
})

test('a label is found by another spelling of the same whole number, and without spaces around it', () => {
  const space: LabelSpace = { problem: 'single_label_classification', labels: ['0', '1 ', '2.0'] }
  const { targets } = problemTraits.single_label_classification
  const found = ['0.0', '1', '2', '2.0'].map((label) => targets(space, { place: 'x', text: 'x', label })[0])
  assert.deepEqual(found, [0, 1, 2, 2])
})

test('the names of unlearned labels are bounded in number', () => {
  const unlearned = new UnlearnedLabels()
  for (let at = 0; at < 5000; at++) unlearned.indexOf(`label ${at}`, 'dev.csv:2')
  assert.equal(unlearned.size, 1000)
  assert.match(unlearned.warning ?? '', /and 995 more are not labels of the task; 5000 labels count/)
})

test('a list of one label is that label, as annotation tools write it, and other lists are rejected', () => {
  const space: LabelSpace = { problem: 'single_label_classification', labels: ['a', 'b'] }
  const targets = (label: readonly string[]) =>
    problemTraits.single_label_classification.targets(space, { place: 'x.jsonl:7', text: 'x', label })
  assert.deepEqual([...Array.from(targets(['b']))], [1])
  assert.throws(() => targets(['a', 'b']), /x\.jsonl:7: the label is a list of 2; expected one label/)
  assert.throws(() => targets([]), /x\.jsonl:7: the label is a list of 0; expected one label/)
})
