// Files that people bring, and what they are told about them.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { type Columns, defaultColumns, type Example, readExamples } from '../../src/learn/examples.js'
import { surveyLabels } from '../../src/learn/label-survey.js'
import { columnsFor, problemTraits } from '../../src/learn/problem-traits.js'
import type { ProblemType } from '../../src/petl/task.js'

const folder = await mkdtemp(join(tmpdir(), 'propetl-examples-'))
after(() => rm(folder, { recursive: true }))
let files = 0

async function fileOf(content: string | Uint8Array, extension = 'jsonl'): Promise<string> {
  const path = join(folder, `${files++}.${extension}`)
  await writeFile(path, content)
  return path
}

async function read(content: string | Uint8Array, columns: Columns = defaultColumns, extension = 'jsonl') {
  const leftOut: string[] = []
  const rows: Example[] = []
  for await (const row of readExamples(await fileOf(content, extension), columns, (what) => leftOut.push(what)))
    rows.push(row)
  return { rows, leftOut }
}

const survey = async (content: string, extension = 'jsonl', problem?: ProblemType) => {
  const path = await fileOf(content, extension)
  return surveyLabels(readExamples(path, columnsFor(problem, defaultColumns)), path, problem)
}

const row = (label: unknown, text: unknown = 'a text') => `${JSON.stringify({ text, label })}\n`

test('rows come in order, with their place; blank lines do not count as rows', async () => {
  const { rows } = await read(
    '{"text":"a","label":"x"}\n\n{"text":"b","text_pair":"c","label":2}\r\n{"text":"d","label":true}',
  )
  assert.deepEqual(
    rows.map(({ place, ...rest }) => [place.split(':').at(-1), rest]),
    [
      ['1', { text: 'a', label: 'x' }],
      ['3', { text: 'b', textPair: 'c', label: 2 }],
      ['4', { text: 'd', label: 'true' }],
    ],
  )
})

test('other column names, and a second text that every row must have', async () => {
  const columns = { text: 'q', textPair: 'a', pairs: true, label: 'y', tagged: false, listed: false }
  const { rows } = await read('{"q":"one","a":"two","y":["p","r"]}', columns)
  assert.deepEqual(rows[0]?.label, ['p', 'r'])
  await assert.rejects(read('{"q":"one","y":"p"}', columns), /:1: there is no column "a"; the row has q, y/)
})

test('a text of many lines and characters of several bytes survives the cutting of the file', async () => {
  const text = `${'ü€😀'.repeat(100_000)}\n"quoted", and more`
  const { rows } = await read(row('x', text) + row('y', text))
  assert.deepEqual(
    rows.map((example) => example.text === text),
    [true, true],
  )
})

test('a row without text is left out and named', async () => {
  const { rows, leftOut } = await read(row('x') + row('y', ' \t') + row('z'))
  assert.deepEqual(
    rows.map(({ label }) => label),
    ['x', 'z'],
  )
  assert.match(leftOut[0] ?? '', /:2: column "text" is empty or blank; the row is left out/)
})

const csv = (content: string | Uint8Array) => read(content, defaultColumns, 'csv')

test('CSV and TSV are read as JSON lines are, with quotes, separators and line ends within a field', async () => {
  const { rows, leftOut } = await csv(
    '\ufefflabel,id,text\r\ngood,1,"a ""fine"" film,\r\nover two lines"\r\n\r\nbad,2,\nbad,3,dull\n',
  )
  assert.deepEqual(
    rows.map(({ text, label }) => [text, label]),
    [
      ['a "fine" film,\nover two lines', 'good'],
      ['dull', 'bad'],
    ],
  )
  assert.match(rows[1]?.place ?? '', /\.csv:6$/)
  assert.match(leftOut[0] ?? '', /\.csv:5: column "text" is empty/)
  const tabs = await read('text\ttext_pair\tlabel\none, two\tthree\tx\n', defaultColumns, 'tsv')
  assert.deepEqual(
    tabs.rows.map(({ text, textPair }) => [text, textPair]),
    [['one, two', 'three']],
  )
})

test('what is wrong in a CSV is told by file and line', async () => {
  await assert.rejects(csv('text,label\na,x\nb\n'), /\.csv:3: .*columns/i)
  await assert.rejects(csv('text,label\n"a,x\nb,y\n'), /\.csv:\d+: .*quote/i)
  await assert.rejects(csv('text,tag\na,x\n'), /\.csv:2: there is no column "label"; the row has text, tag/)
  await assert.rejects(csv('text,text,label\na,b,x\n'), /\.csv:1: column "text" is there twice/)
  await assert.rejects(csv('text,label\na,\n'), /\.csv:2: column "label" is ""/)
  const broken = Buffer.concat([Buffer.from('text,label\na,x\n'), Buffer.from([0xff]), Buffer.from(',y\n')])
  await assert.rejects(csv(broken), /\.csv:3: not UTF-8 at column 1/)
})

test('numbers in a CSV make a regression if one has a fraction, and then all must be numbers', async () => {
  const { problem, range } = await survey('text,label\na,1\nb,2.5\n', 'csv')
  assert.deepEqual([problem, range], ['regression', [1, 2.5]])
  assert.deepEqual((await survey('text,label\na,10\nb,9\n', 'csv')).labels, ['9', '10'])
  const mixed = 'text,label\na,1.5\nb,NaN\n'
  await assert.rejects(survey(mixed, 'csv'), /\.csv:3: the label is "NaN", others are numbers/)
  assert.deepEqual((await survey(mixed, 'csv', 'single_label_classification')).labels, ['1.5', 'NaN'])
  const space = await survey('text,label\na,1\nb,2.5\n', 'csv')
  assert.deepEqual(problemTraits.regression.targets(space, { place: 'x', text: 'x', label: '2.25' }), [2.25])
  assert.throws(
    () => problemTraits.regression.targets(space, { place: 'dev.csv:4', text: 'x', label: 'inf' }),
    /dev\.csv:4: .*"inf"/,
  )
})

test('what is wrong is told by file, line and column', async () => {
  await assert.rejects(read('{"text":"a","label":"x"}\n{"text":"b","label":NaN}'), /\.jsonl:2: not JSON/)
  await assert.rejects(read('[1]'), /:1: expected a JSON object/)
  await assert.rejects(read('x'.repeat(17 * 1024 * 1024)), /:1: the line is longer than 16777216 bytes/)
  await assert.rejects(read('{"text":1,"label":"x"}'), /:1: column "text" is 1; expected a text/)
  await assert.rejects(read('{"text":"a","label":null}'), /:1: column "label" is null; expected a label/)
  await assert.rejects(read('{"text":"a"}'), /:1: there is no column "label"; the row has text/)
  const broken = Buffer.concat([Buffer.from(row('x')), Buffer.from([0x22, 0xff, 0x22])])
  await assert.rejects(read(broken), /:2: not UTF-8 at column 2/)
  await assert.rejects(
    readExamples('rows.xlsx', defaultColumns).next(),
    /rows\.xlsx: expected a file that ends in \.jsonl, \.ndjson, \.csv, \.tsv/,
  )
  await assert.rejects(readExamples('none.jsonl', defaultColumns).next(), /none\.jsonl cannot be read/)
})

test('words with a label each come from arrays, and from texts where they are said to be words', async () => {
  const tagged = { ...defaultColumns, tagged: true }
  const expected = { text: 'In 😀 Rome', words: ['In', '😀', 'Rome'], label: ['O', 'O', 'B-LOC'] }
  const shown = ({ rows: [row] }: { rows: Example[] }) => ({
    text: row?.text,
    words: row?.words?.map(({ start, end }) => row.text.slice(start, end)),
    label: row?.label,
  })
  const arrays = row(['O', 'O', 'B-LOC '], ['In', ' 😀', 'Rome'])
  assert.deepEqual(shown(await read(arrays)), expected)
  assert.deepEqual(shown(await read(row('O  O B-LOC', ['In', '😀', 'Rome']))), expected)
  assert.deepEqual(shown(await read(row(['O', 'O', 'B-LOC'], 'In 😀 Rome'), tagged)), expected)
  assert.deepEqual(shown(await read('text,label\nIn 😀 Rome,O O B-LOC\n', tagged, 'csv')), expected)
  const spaced = await read('text\tlabel\n In  😀\u00a0Rome\tO O B-LOC\n', tagged, 'tsv')
  assert.deepEqual(shown(spaced), { ...expected, text: ' In  😀\u00a0Rome' })
  const { rows, leftOut } = await read('text,label\n ,\na,O\n', tagged, 'csv')
  assert.equal(rows.length, 1)
  assert.match(leftOut[0] ?? '', /:2: column "text" is empty or blank/)
})

test('words and labels that do not go together are told by file, line and column', async () => {
  const tagged = { ...defaultColumns, tagged: true }
  await assert.rejects(read(row(['O'], ['a', 'b'])), /:1: column "label" has 1 labels, but column "text" has 2 words/)
  await assert.rejects(
    read('text,label\na b,O O\na b,O O O\n', tagged, 'csv'),
    /\.csv:3: column "label" has 3 labels, but column "text" has 2 words/,
  )
  await assert.rejects(read('text,label\na b,\n', tagged, 'csv'), /\.csv:2: column "label" has 0 labels/)
  await assert.rejects(read(row(['O', ''], ['a', 'b'])), /:1: column "label": label 2 is ""; expected a label/)
  await assert.rejects(read(row(['O', 3], ['a', 'b'])), /:1: column "label": label 2 is 3; expected a label/)
  await assert.rejects(read(row(['O', 'O'], ['a', ' '])), /:1: column "text": word 2 is " "; expected a word/)
  await assert.rejects(read(row(['O', 'O'], ['a', ['b']])), /:1: column "text": word 2 is \["b"\]; expected a word/)
  await assert.rejects(read(row(3, 'a b'), tagged), /:1: column "label" is 3; expected a label for each word/)
  await assert.rejects(read('{"text":7,"label":"O"}', tagged), /:1: column "text" is 7; expected words/)
  await assert.rejects(
    read('{"text":["a"],"text_pair":"b","label":["O"]}'),
    /:1: there is a second text, "text_pair"; words with a label each are those of one text/,
  )
  await assert.rejects(
    read(row(['x'], ['a']), { ...defaultColumns, tagged: false }),
    /:1: column "text" is \["a"\]; expected a text/,
  )
})

test('a feature extraction is learned from pairs with a number each', async () => {
  const pair = (label: unknown) => `${JSON.stringify({ text: 'a', text_pair: 'b', label })}\n`
  assert.deepEqual(await survey(pair(0) + pair(5), 'jsonl', 'feature_extraction'), {
    problem: 'feature_extraction',
    labels: [],
    range: [0, 5],
  })
  await assert.rejects(survey(row(1), 'jsonl', 'feature_extraction'), /:1: there is no column "text_pair"/)
  await assert.rejects(
    survey(pair('1') + pair('same'), 'jsonl', 'feature_extraction'),
    /:2: the label is "same", others are numbers; a feature_extraction takes finite numbers alone/,
  )
  await assert.rejects(
    survey(pair(['x']), 'jsonl', 'feature_extraction'),
    /a feature_extraction does not go with labels of kind "array"/,
  )
  await assert.rejects(survey(pair(2) + pair(2), 'jsonl', 'feature_extraction'), /every row has the same number, 2/)
})

test('the labels tell the problem type', async () => {
  assert.deepEqual(await survey(row('b') + row('a') + row('b')), {
    problem: 'single_label_classification',
    labels: ['a', 'b'],
  })
  assert.deepEqual(await survey(row(10) + row(9)), { problem: 'single_label_classification', labels: ['9', '10'] })
  assert.deepEqual(await survey(row(1) + row(2.5)), {
    problem: 'regression',
    labels: [],
    range: [1, 2.5],
    spread: { mean: 1.75, deviation: 0.75 },
  })
  assert.deepEqual(await survey(row(['b']) + row([]) + row(['a', 'b'])), {
    problem: 'multi_label_classification',
    labels: ['a', 'b'],
  })
  // Arrays of words have a label for each; an array of labels for a text says which of them apply.
  assert.deepEqual(await survey(row(['O', 'B-X'], ['a', 'b']) + row(['O'], ['a'])), {
    problem: 'token_classification',
    labels: ['B-X', 'O'],
  })
  assert.equal((await survey(row(['a', 'b'], 'two words') + row(['a', 'b']))).problem, 'multi_label_classification')
  assert.equal((await survey('text,label\na b,O X\nc d,X O\n', 'csv')).problem, 'single_label_classification')
})

test('in CSV several labels of a row are separated by commas, if they are said to be several', async () => {
  const several = 'text,label\na,"x, y"\nb,\nc,y\n'
  assert.deepEqual(await survey(several, 'csv', 'multi_label_classification'), {
    problem: 'multi_label_classification',
    labels: ['x', 'y'],
  })
  const { rows } = await read(several, columnsFor('multi_label_classification', defaultColumns), 'csv')
  assert.deepEqual(
    rows.map(({ label }) => label),
    [['x', 'y'], [], ['y']],
  )
  await assert.rejects(survey(several, 'csv'), /\.csv:3: column "label" is ""/)
})

test('labels that nothing can be learned from are refused', async () => {
  await assert.rejects(survey(row('a') + row('a')), /every row has the same label, "a"/)
  await assert.rejects(survey(row(1.5) + row(1.5)), /every row has the same number, 1.5/)
  await assert.rejects(survey(row('a') + row(1)), /:2: the label is of kind "number", those before it of kind "text"/)
  await assert.rejects(survey(row(['O', 'O'], ['a', 'b'])), /every word has the same label, "O"/)
  await assert.rejects(
    survey(row(['O', 'O'], ['a', 'b']) + row('x')),
    /:2: the label is of kind "text", those before it of kind "words"/,
  )
  await assert.rejects(survey('\n'), /there are no rows/)
})

test('a label that only the dev part has is named with its place', async () => {
  const space = await survey(row('a') + row('b'))
  const example = { place: 'dev.jsonl:7', text: 'x', label: 'c' }
  assert.throws(
    () => problemTraits.single_label_classification.targets(space, example),
    /dev\.jsonl:7: label "c" is not among/,
  )
})
