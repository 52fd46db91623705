// `propetl check`: what it reports about a file.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type CheckFlags, check } from '../../src/commands/check.js'
import { settings } from '../../src/settings.js'
import { fileOf, reviews, reviewsCsv } from '../data/files.js'

const flags: CheckFlags = {
  textColumn: 'text',
  labelColumn: 'label',
  modelDir: settings.modelDir.value,
  maxLength: 12,
}

async function jsonOf(paths: readonly string[], more: Partial<CheckFlags> = {}) {
  const { text, ok } = await check(paths, { ...flags, ...more, json: true })
  return { ok, reports: text.split('\n').map((line) => JSON.parse(line)) }
}

const long = 'one two three four five six seven eight nine ten eleven twelve'

test('reports rows, skipped rows, labels, repeated texts and lengths', async () => {
  const path = await fileOf(
    'reviews.csv',
    `id,Text,label\n1,good film,pos\n2,,neg\n3,bad film,neg\n4,good film,pos\n5,good film ,neg\n6,${long},Pos\n7,dull,nan\n`,
  )
  const { ok, reports } = await jsonOf([path])
  assert.equal(ok, true)
  assert.deepEqual(reports, [
    {
      file: path,
      format: 'text separated by commas, UTF-8',
      columns: { text: 'Text', label: 'label' },
      unused_columns: ['id'],
      rows: 7,
      examples: 5,
      skipped: [
        { reason: 'column "Text" is empty', rows: 1, places: [`${path}:3`] },
        { reason: 'column "label" is "nan"', rows: 1, places: [`${path}:8`] },
      ],
      problem_type: 'single_label_classification',
      label_count: 3,
      labels: [
        { label: 'pos', count: 2 },
        { label: 'neg', count: 2 },
        { label: 'Pos', count: 1 },
      ],
      rare_labels: [
        { label: 'Pos', count: 1 },
        { label: 'neg', count: 2 },
        { label: 'pos', count: 2 },
      ],
      repeated_texts: {
        count: 2,
        shown: [
          [2, 5],
          [2, 6],
        ],
      },
      conflicting_labels: { count: 1, shown: [[2, 6]] },
      // Special tokens count: "good film" has four tokens, and the twelve words have fourteen.
      tokens: { examples: 5, median: 4, percentile_95: 14, longest: 14, limit: 12, cut: 1 },
      warnings: ['labels differ only by case or white space: "pos" (2) and "Pos" (1)'],
      error: null,
    },
  ])
  const { text } = await check([path], flags)
  assert.match(text, /^skipped {16}1 row is skipped, because column "Text" is empty \(line 3\)$/m)
  assert.match(text, /^labels {17}3: "pos" 2, "neg" 2, "Pos" 1$/m)
  assert.match(text, /^repeated texts {9}2 rows have the text of an earlier row \(lines 2 and 5, lines 2 and 6\)$/m)
  assert.match(text, /^other labels {11}1 of them with another label \(lines 2 and 6\)$/m)
  assert.match(text, /^tokens .*; 1 of 5 is cut at 12$/m)
})

test('reports texts that are in the dev file too', async () => {
  const path = await fileOf('train.csv', reviewsCsv(50))
  const shared = reviews(12).map(({ text, label }, at) => `${at < 3 ? text : `${text} again`},${label}\n`)
  const dev = await fileOf('dev.csv', `text,label\n${shared.join('')}`)
  const { reports } = await jsonOf([path], { dev })
  assert.deepEqual(reports[0].dev, {
    file: dev,
    examples: 12,
    in_both: {
      count: 3,
      shown: [
        [2, 2],
        [3, 3],
        [4, 4],
      ],
    },
  })
  await assert.rejects(check([path, path], { ...flags, dev }), /--dev belongs to one data file; 2 are given/)
})

test('a file that cannot be used does not prevent the report of the others', async () => {
  const good = await fileOf('good.csv', reviewsCsv(20))
  const same = await fileOf('same.csv', 'text,label\na,x\nb,x\n')
  const { ok, reports } = await jsonOf(['none.csv', same, good])
  assert.equal(ok, false)
  assert.match(reports[0].error, /none\.csv cannot be read: there is no such file/)
  assert.match(reports[1].error, /every row has the same label, "x"/)
  assert.deepEqual([reports[1].rows, reports[2].rows, reports[2].error], [2, 20, null])
})

test('the longest list of labels is cut, and their number is reported', async () => {
  const path = await fileOf(
    'many.csv',
    reviewsCsv(3000, (_, at) => `label ${at % 1500}`),
  )
  const { reports } = await jsonOf([path])
  assert.deepEqual([reports[0].label_count, reports[0].labels.length], [1500, 1000])
  const { text } = await check([path], flags)
  assert.match(text, /^labels {17}1,500: .* and 1,480 more$/m)
})
