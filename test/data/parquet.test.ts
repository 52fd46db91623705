// Parquet files, which test/fixtures/data/make.py wrote with PyArrow.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { openRows } from '../../src/data/file-rows.js'
import { root } from '../material.js'
import { countsOf, examplesOf, fileOf, surveyOf } from './files.js'

const fixture = (name: string) => join(root, 'test/fixtures/data', `${name}.parquet`)

for (const codec of ['none', 'snappy', 'gzip', 'zstd', 'brotli', 'lz4'])
  test(`reads row groups compressed with ${codec}`, async () => {
    const examples = await examplesOf(fixture(`rows-${codec}`))
    assert.deepEqual(
      examples.map(({ text, label, place }) => [text, label, place.split(': ').at(-1)]),
      [0, 1, 2, 4, 5, 6, 7, 8, 9].map((at) => [`text number ${at}`, ['spam', 'ham'][at % 2], `row ${at + 1}`]),
    )
  })

test('uses the label names that Hugging Face datasets stores', async () => {
  const survey = await surveyOf(fixture('class-labels'))
  assert.deepEqual(countsOf(survey), { negative: 3, neutral: 2, positive: 2 })
  assert.deepEqual(
    survey.skipped.map(({ reason, rows }) => [reason, rows]),
    [['column "label" is -1', 3]],
  )
})

test('reads lists, numbers and exact 64-bit integers', async () => {
  const path = fixture('lists')
  const survey = await surveyOf(path)
  assert.equal(survey.labels.found, 'multi_label_classification')
  assert.deepEqual(countsOf(survey), { food: 9, price: 5 })
  assert.deepEqual((await surveyOf(path, { columns: { label: 'stars' } })).labels.space.range, [0, 4.5])
  const products = await surveyOf(path, { columns: { label: 'product' } })
  assert.deepEqual(countsOf(products), { '4611686018427387904': 5, '4611686018427387905': 5 })
})

test('a file that would take too much memory, or is damaged, is rejected', async () => {
  await assert.rejects(
    surveyOf(fixture('bomb')),
    /row group that begins at row 1 has \d+ bytes .* the limit is 536870912/,
  )
  const whole = await readFile(fixture('rows-snappy'))
  const cut = await fileOf('cut.parquet', whole.subarray(0, whole.length - 100))
  await assert.rejects(openRows(cut), /the Parquet file cannot be read/)
  await assert.rejects(openRows(await fileOf('text.parquet', 'text,label\n')), /not a Parquet file/)
  const damaged = Buffer.from(whole)
  damaged.fill(0xff, 200, 420)
  await assert.rejects(surveyOf(await fileOf('damaged.parquet', damaged)), /cannot be read/)
})
