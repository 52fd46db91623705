// JSON Lines and JSON documents.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openRows } from '../../src/data/file-rows.js'
import { countsOf, examplesOf, fileOf, reviews, surveyOf } from './files.js'

const rows = reviews(120)
const lines = rows.map((row) => JSON.stringify(row)).join('\n')

const documents: readonly (readonly [what: string, name: string, content: string, format: string])[] = [
  ['JSON Lines', 'a.jsonl', lines, 'JSON Lines, UTF-8'],
  ['JSON Lines in a .json file', 'a.json', lines, 'JSON Lines, UTF-8'],
  ['an array on one line', 'a.json', JSON.stringify(rows), 'JSON, UTF-8'],
  ['an array over many lines in a .jsonl file', 'a.jsonl', JSON.stringify(rows, null, 1), 'JSON, UTF-8'],
  [
    'an array in an object',
    'a.json',
    JSON.stringify({ version: [1, 2], name: 'x"]', data: rows }, null, 2),
    'JSON, UTF-8',
  ],
  ['an array in an object on one line', 'a.json', JSON.stringify({ data: rows, more: {} }), 'JSON, UTF-8'],
]

for (const [what, name, content, format] of documents)
  test(`reads ${what}`, async () => {
    const path = await fileOf(name, content)
    assert.equal((await openRows(path)).format, format)
    const examples = await examplesOf(path)
    assert.deepEqual(
      examples.map(({ text, label }) => ({ text, label })),
      rows,
    )
  })

test('reads a document that is longer than a piece of the file, with brackets and quotes in its texts', async () => {
  const long = Array.from({ length: 30 }, (_, at) => ({
    text: `]}"\\"{[ ü😀${'x\\'.repeat(40_000)}${at}`,
    label: `${at % 2}`,
  }))
  const examples = await examplesOf(await fileOf('a.json', JSON.stringify({ data: long })))
  assert.deepEqual(
    examples.map(({ text }) => text),
    long.map(({ text }) => text),
  )
})

test('errors in a document name the line and the element', async () => {
  const path = await fileOf('a.json', '[\n{"text":"a","label":"x"},\n{"text":"b","label":NaN}]')
  await assert.rejects(surveyOf(path), /a\.json:3, element 2: not JSON/)
  await assert.rejects(surveyOf(await fileOf('a.json', '[["a","x"]]')), /element 1 of the array is an array/)
  await assert.rejects(surveyOf(await fileOf('a.json', '["a"]')), /element 1 of the array is a string/)
  await assert.rejects(surveyOf(await fileOf('a.json', '[{"text":"a","label":"x"}')), /ends before its last bracket/)
  await assert.rejects(surveyOf(await fileOf('a.json', '{"text":["a"],"label":["x"]}')), /orient="records"/)
  const several = JSON.stringify({ train: rows, test: rows })
  await assert.rejects(surveyOf(await fileOf('a.json', several)), /several arrays of objects, "train" and "test"/)
})

test('whole numbers that a double cannot represent stay exact', async () => {
  const ids = ['1184327659820351489', '1184327659820351490', '1184327659820351617', '42']
  const json = Array.from(
    { length: 120 },
    (_, at) => `{"text":"shoe 1184327659820351489 no ${at}","label":${ids[at % 4]}}`,
  )
  const csv = Array.from({ length: 120 }, (_, at) => `shoe no ${at},${ids[at % 4]}`)
  for (const path of [
    await fileOf('ids.jsonl', json.join('\n')),
    await fileOf('ids.json', `[${json.join(',')}]`),
    await fileOf('ids.csv', `text,label\n${csv.join('\n')}`),
  ]) {
    const survey = await surveyOf(path)
    assert.equal(survey.labels.space.problem, 'single_label_classification')
    assert.deepEqual(countsOf(survey), Object.fromEntries(ids.map((id) => [id, 30])))
  }
  const [example] = await examplesOf(await fileOf('ids.jsonl', json.join('\n')))
  assert.equal(example?.text, 'shoe 1184327659820351489 no 0')
})

test('numbers and truth values are texts, and rows without a label are skipped', async () => {
  const path = await fileOf(
    'a.jsonl',
    '{"text":5,"label":"a"}\n{"text":true,"label":"b"}\n{"text":"c","label":null}\n{"text":"d"}',
  )
  const survey = await surveyOf(path)
  assert.deepEqual([survey.examples, survey.skipped[0]?.rows], [2, 2])
  const [first] = await examplesOf(path)
  assert.equal(first?.text, '5')
})
