// The columns of predictions for each problem type, and the lines of tables.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { parse } from 'csv-parse/sync'
import * as fc from 'fast-check'
import { predictionFields } from '../../src/commands/prediction-fields.js'
import { type TableFormat, tableWriter } from '../../src/commands/table-writer.js'
import type { LabelSpace } from '../../src/data/label-space.js'
import type { Prediction } from '../../src/tasks/predictions.js'

const fieldsOf = (space: LabelSpace, prediction: Prediction, format: TableFormat, withScores = false) =>
  Object.fromEntries(predictionFields(space, format, withScores).map(({ name, of }) => [name, of(prediction)]))

describe('fields of a prediction', () => {
  const scores = [
    { label: 'a', score: 0.2 },
    { label: 'b,c', score: 0.123456789 },
  ]

  test('are the best label and its score', () => {
    const space: LabelSpace = { problem: 'single_label_classification', labels: ['a', 'b,c'] }
    const prediction = { label: 'a', score: 0.2, scores }
    assert.deepEqual(fieldsOf(space, prediction, 'csv'), { label: 'a', score: 0.2 })
    assert.deepEqual(fieldsOf(space, prediction, 'tsv', true), {
      label: 'a',
      score: 0.2,
      score_a: 0.2,
      'score_b,c': 0.123457,
    })
    assert.deepEqual(fieldsOf(space, prediction, 'jsonl', true).scores, { a: 0.2, 'b,c': 0.123457 })
  })

  test('list several labels with commas, or as JSON if a label of the task has a comma', () => {
    const prediction = { label: 'a', score: 0.9, scores, labels: ['a', 'b'] }
    const space: LabelSpace = { problem: 'multi_label_classification', labels: ['a', 'b'] }
    assert.deepEqual(fieldsOf(space, prediction, 'csv'), { labels: 'a,b', label: 'a', score: 0.9 })
    assert.equal(fieldsOf({ ...space, labels: ['a', 'b', 'c,d'] }, prediction, 'csv').labels, '["a","b"]')
    assert.deepEqual(fieldsOf(space, prediction, 'jsonl').labels, ['a', 'b'])
    assert.equal(fieldsOf(space, { ...prediction, labels: [] }, 'csv').labels, '')
  })

  test('are all digits of a number', () =>
    assert.deepEqual(fieldsOf({ problem: 'regression', labels: [] }, { score: 1764252000.25 }, 'csv'), {
      value: 1764252000.25,
    }))

  test('are entities, or words if the labels do not mark entities', () => {
    const word = {
      text: 'Rome',
      start: 0,
      end: 4,
      label: 'B-LOC',
      score: 0.5,
      scores: [{ label: 'B-LOC', score: 0.5 }],
    }
    const { scores, ...plain } = word
    const entity = { text: 'Rome', start: 0, end: 4, label: 'LOC', score: 0.5000001 }
    const prediction = { words: [word], entities: [entity] }
    const tagged: LabelSpace = { problem: 'token_classification', labels: ['B-LOC', 'O'] }
    assert.deepEqual(fieldsOf(tagged, prediction, 'csv'), { entities: [{ ...entity, score: 0.5 }] })
    assert.deepEqual(fieldsOf(tagged, prediction, 'csv', true).words, [{ ...word, scores: { 'B-LOC': 0.5 } }])
    const untagged: LabelSpace = { problem: 'token_classification', labels: ['NOUN', 'VERB'] }
    assert.deepEqual(fieldsOf(untagged, { words: [word] }, 'csv'), { words: [plain] })
  })

  test('are vectors in JSON lines only', () => {
    const space: LabelSpace = { problem: 'feature_extraction', labels: [] }
    assert.deepEqual(fieldsOf(space, { embedding: [0.25, -1] }, 'jsonl'), { vector: [0.25, -1] })
    assert.throws(() => predictionFields(space, 'csv', false), /vectors, which need JSON lines; add --out with a name/)
  })
})

describe('a table', () => {
  test('keeps every text in CSV and TSV', () => {
    const cell = fc.string({ unit: fc.constantFrom('a', ' ', ',', ';', '"', '\t', '\n', '\r', 'é', '😀', "'", '\\') })
    for (const [format, delimiter] of [['csv', ','] as const, ['tsv', '\t'] as const])
      fc.assert(
        fc.property(fc.array(fc.tuple(cell, cell, cell), { minLength: 1 }), (rows) => {
          const writer = tableWriter(format, ['x', 'y', 'z'])
          const text = writer.header + rows.map(([x, y, z]) => writer.line({ x, y, z, other: 1 })).join('')
          // Another reader than ours, with the line end that RFC 4180 readers find.
          assert.deepEqual(parse(text, { delimiter, record_delimiter: '\n' }), [['x', 'y', 'z'], ...rows])
        }),
      )
  })

  test('writes numbers, lists and missing values', () => {
    const writer = tableWriter('csv', ['a', 'b', 'c', 'd'])
    assert.equal(writer.line({ a: 1.5, b: [{ x: 'y' }], c: null }), '1.5,"[{""x"":""y""}]",,\n')
    assert.equal(tableWriter('jsonl', []).line({ a: null, b: ['x'] }), '{"a":null,"b":["x"]}\n')
  })
})
