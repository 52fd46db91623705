// CSV and TSV in the dialects of spreadsheets, databases and scripts.

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { test } from 'node:test'
import { openRows } from '../../src/data/file-rows.js'
import { examplesOf, fileOf, reviews, reviewsCsv, surveyOf } from './files.js'

const table = (content: string) => content.replaceAll(',', '\t')
const utf16 = (content: string, mark = '\ufeff') => Buffer.from(`${mark}${content}`, 'utf16le')
const expected = reviews(120)

const dialects: readonly (readonly [what: string, name: string, content: string | Uint8Array, format: RegExp])[] = [
  ['commas', 'a.csv', reviewsCsv(120), /commas, UTF-8$/],
  ['semicolons', 'a.csv', reviewsCsv(120).replaceAll(',', ';'), /semicolons/],
  ['vertical bars', 'a.csv', reviewsCsv(120).replaceAll(',', '|'), /vertical bars/],
  ['tabs in a .csv', 'a.csv', table(reviewsCsv(120)), /tabs/],
  ['commas in a .tsv', 'a.tsv', reviewsCsv(120), /commas/],
  ['tabs in a .txt', 'a.txt', table(reviewsCsv(120)), /tabs/],
  [
    'a line that names the separator',
    'a.csv',
    `sep=;\r\n${reviewsCsv(120).replaceAll(',', ';')}`,
    /its first line says/,
  ],
  ['line ends with a carriage return', 'a.csv', reviewsCsv(120).replaceAll('\n', '\r'), /carriage returns/],
  ['line ends of Windows and a byte order mark', 'a.csv', `\ufeff${reviewsCsv(120).replaceAll('\n', '\r\n')}`, /UTF-8/],
  [
    'a byte order mark before quotes',
    'a.csv',
    `\ufeff${reviewsCsv(120).replace('text,label', '"text","label"')}`,
    /commas/,
  ],
  ['UTF-16 LE', 'a.csv', utf16(reviewsCsv(120)), /commas, UTF-16 LE/],
  ['UTF-16 LE with tabs, as Excel writes it', 'a.csv', utf16(table(reviewsCsv(120))), /tabs, UTF-16 LE/],
  ['UTF-16 BE', 'a.csv', utf16(reviewsCsv(120)).swap16(), /UTF-16 BE/],
  ['UTF-16 LE without a byte order mark', 'a.csv', utf16(reviewsCsv(120), ''), /UTF-16 LE/],
  ['other case in the header', 'a.csv', reviewsCsv(120).replace('text,label', 'Text,LABEL'), /commas/],
  ['spaces after the commas', 'a.csv', reviewsCsv(120).replaceAll(',', ', '), /commas/],
  ['an empty column at the end', 'a.csv', reviewsCsv(120).replaceAll('\n', ',,\r\n'), /commas/],
  ['fields in quotes', 'a.csv', reviewsCsv(120).replaceAll(/^(.*),(.*)$/gm, '"$1" , "$2"'), /commas/],
  ['more empty fields in some rows', 'a.csv', reviewsCsv(120).replaceAll('pos\n', 'pos,\n'), /commas/],
  ['no line end at the end', 'a.csv', reviewsCsv(120).trimEnd(), /commas/],
]

for (const [what, name, content, format] of dialects)
  test(`reads a file with ${what}`, async () => {
    const path = await fileOf(name, content)
    assert.match((await openRows(path)).format, format)
    const examples = await examplesOf(path)
    assert.deepEqual(
      examples.map(({ text, label }) => ({ text, label })),
      expected,
    )
  })

test('columns that are not in use may be empty, repeated or missing at the end of a row', async () => {
  const rows = expected.map(({ text, label }, at) => `${at},${text},${label},x${at % 3 === 0 ? '' : ',y'}\n`)
  const path = await fileOf('a.csv', `id,text,label,note,note\n${rows.join('')}`)
  const survey = await surveyOf(path)
  assert.equal(survey.examples, 120)
  const twice = await fileOf('a.csv', 'Text,TEXT,label\na,b,x\n')
  await assert.rejects(surveyOf(twice), /the columns "Text", "TEXT" are similar to "text"/)
})

test('a quote in a TSV without quoting does not swallow rows', async () => {
  const lines = reviews(200).map(({ text, label }, at) => {
    if (at === 10) return `"${text}\t${label}`
    return at === 60 ? `${text}"\t${label}` : `${text}\t${label}`
  })
  const examples = await examplesOf(await fileOf('dialogue.tsv', `text\tlabel\n${lines.join('\n')}\n`))
  assert.equal(examples.length, 200)
  assert.equal(examples[10]?.text, '"the meal was charming no 10')
  assert.equal(examples[60]?.text, 'the meal was superb no 60"')
})

test('quotes within a field are part of the text', async () => {
  const path = await fileOf(
    'a.csv',
    'text,label\na 5" screen,x\n"Great" movie,y\n"=1+1",x\n"so he said "hi" to me",y\n',
  )
  const examples = await examplesOf(path)
  assert.deepEqual(
    examples.map(({ text }) => text),
    ['a 5" screen', '"Great" movie', '=1+1', 'so he said "hi" to me'],
  )
})

test('a quote that is never closed is part of the text, with a warning', async () => {
  const { examples, warnings } = await surveyOf(await fileOf('a.csv', 'text,label\n"a,x\nb,y\nc,x\n'))
  assert.equal(examples, 3)
  assert.match(warnings[0] ?? '', /a\.csv:2: a quote opens a field and is not closed/)
})

test('warns if quotes enclose lines that look like rows', async () => {
  const { examples, warnings } = await surveyOf(await fileOf('a.csv', 'text,label\n"a,x\nb,y\nc",x\nd,y\n'))
  assert.equal(examples, 2)
  assert.match(warnings[0] ?? '', /a\.csv:2: the quotes of a field enclose 3 lines/)
})

test('reads quotes that are escaped by a backslash, and line breaks in quotes', async () => {
  const path = await fileOf('a.csv', 'label,text,n\r\nx,"say \\"hi\\", twice",1\r\ny,"one\r\n\r\n""two"", three",2\r\n')
  const examples = await examplesOf(path)
  assert.deepEqual(
    examples.map(({ text, place }) => [text, place.split(':').at(-1)]),
    [
      ['say "hi", twice', '2'],
      ['one\n\n"two", three', '3'],
    ],
  )
})

test('a row with too many fields is rejected by its line', async () => {
  const path = await fileOf('a.csv', `${reviewsCsv(10)}great, really great,pos\n`)
  await assert.rejects(surveyOf(path), /a\.csv:12: the row has 3 fields, but the header has 2 columns; .*double quotes/)
})

test('a row that ends before its label is skipped and named', async () => {
  const { skipped } = await surveyOf(await fileOf('a.csv', 'text,label\na,x\nb\nc,y\n'))
  assert.deepEqual(
    skipped.map(({ reason, rows, places }) => [reason, rows, places[0]?.split(':').at(-1)]),
    [['column "label" is empty', 1, '3']],
  )
})

test('what is not a text file is rejected with its kind', async () => {
  const kinds: readonly (readonly [Uint8Array | string, RegExp])[] = [
    [Buffer.from('text,label\na\0b,x\n'), /a\.csv:2: the file has a zero byte at byte 13/],
    [Buffer.from('PK\u0003\u0004xyz', 'latin1'), /a ZIP archive or an Excel file/],
    [Buffer.from('\u001f\u008bxyz', 'latin1'), /compressed with gzip/],
    [Buffer.from('PAR1xyz'), /a Parquet file\. Give it the extension/],
    ['', /no first line with column names/],
    ['\n\n', /no first line with column names/],
  ]
  for (const [content, message] of kinds) await assert.rejects(surveyOf(await fileOf('a.csv', content)), message)
  const header = await surveyOf(await fileOf('a.csv', 'text,label\n'))
  assert.throws(() => header.labels.space, /the file has no examples/)
  await assert.rejects(openRows('/'), /expected a data file that ends in/)
  await assert.rejects(openRows('/dev/null.csv'), /cannot be read/)
})

test('a zero byte or another encoding far into a file is rejected by line and column', async () => {
  const start = reviewsCsv(40_000)
  const zero = await fileOf('a.csv', `${start}a\0b,x\n`)
  await assert.rejects(surveyOf(zero), /a\.csv:40002: column 2 of the line has a zero byte/)
  const latin1 = Buffer.concat([Buffer.from(start), Buffer.from('caf\u00e9,x\n', 'latin1')])
  await assert.rejects(surveyOf(await fileOf('a.csv', latin1)), /a\.csv:40002: column 4 of the line is not UTF-8/)
})

test('a line that never ends is rejected before it fills the memory', async () => {
  const path = await fileOf('a.csv', 'text,label\n')
  await writeFile(path, Buffer.alloc(40 * 1024 * 1024, 'x'), { flag: 'a' })
  await assert.rejects(surveyOf(path), /a\.csv:2: the line is longer than 16777216 characters/)
})

test('the rows of a file can be left early', async () => {
  const source = await openRows(await fileOf('a.csv', reviewsCsv(100_000)))
  for await (const { values } of source.rows({ onWarning: () => {} })) {
    assert.equal(values.label, 'pos')
    break
  }
})
