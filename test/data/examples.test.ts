// Data files as users have them, and the errors and warnings about them.

import assert from 'node:assert/strict'
import { tmpdir } from 'node:os'
import { test } from 'node:test'
import { type Columns, columnsFor, defaultColumns } from '../../src/data/columns.js'
import { type Example, readExamples } from '../../src/data/examples.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import type { ProblemType } from '../../src/petl/task.js'
import { fileOf, surveyOf } from './files.js'

const write = (content: string | Uint8Array, extension = 'jsonl') => fileOf(`a.${extension}`, content)

async function read(content: string | Uint8Array, columns: Columns = defaultColumns, extension = 'jsonl') {
  const warnings: string[] = []
  const examples: Example[] = []
  const watch = { onWarning: (what: string) => warnings.push(what) }
  for await (const example of readExamples(await write(content, extension), columns, watch)) examples.push(example)
  return { examples, warnings }
}

const survey = async (content: string, extension = 'jsonl', problem?: ProblemType) =>
  (await surveyOf(await write(content, extension), { ...(problem && { problem }) })).labels.space

const row = (label: unknown, text: unknown = 'a text') => `${JSON.stringify({ text, label })}\n`

test('reads examples in order, with their places, and skips blank lines', async () => {
  const { examples } = await read(
    '{"text":"a","label":"x"}\n\n{"text":"b","text_pair":"c","label":2}\r\n{"text":"d","label":true}',
  )
  assert.deepEqual(
    examples.map(({ place, ...rest }) => [place.split(':').at(-1), rest]),
    [
      ['1', { text: 'a', label: 'x' }],
      ['3', { text: 'b', textPair: 'c', label: 2 }],
      ['4', { text: 'd', label: 'true' }],
    ],
  )
})

test('reads columns by other names, and requires a second text if pairs are expected', async () => {
  const columns = { ...defaultColumns, text: 'q', textPair: 'a', pairs: true, label: 'y' }
  const { examples } = await read('{"q":"one","a":"two","y":["p","r"]}', columns)
  assert.deepEqual(examples[0]?.label, ['p', 'r'])
  await assert.rejects(
    read('{"q":"one","y":"p"}', columns),
    /there is no column "a"; the file has "q", "y"\. Name the column to use with --text-pair-column/,
  )
})

test('reads a long text with multi-byte characters unchanged across chunks of the file', async () => {
  const text = `${'ü€😀'.repeat(100_000)}\n"quoted", and more`
  const { examples } = await read(row('x', text) + row('y', text))
  assert.deepEqual(
    examples.map((example) => example.text === text),
    [true, true],
  )
})

test('skips a row without text, with a warning that names it', async () => {
  const { examples, warnings } = await read(row('x') + row('y', ' \t') + row('z'))
  assert.deepEqual(
    examples.map(({ label }) => label),
    ['x', 'z'],
  )
  assert.match(warnings[0] ?? '', /: 1 row is skipped, because column "text" is empty \(line 2\)/)
})

const csv = (content: string | Uint8Array) => read(content, defaultColumns, 'csv')

test('reads CSV and TSV with quotes, separators and line breaks in a field', async () => {
  const { examples, warnings } = await csv(
    '\ufefflabel,id,text\r\ngood,1,"a ""fine"" film,\r\nover two lines"\r\n\r\nbad,2,\nbad,3,dull\n',
  )
  assert.deepEqual(
    examples.map(({ text, label }) => [text, label]),
    [
      ['a "fine" film,\nover two lines', 'good'],
      ['dull', 'bad'],
    ],
  )
  assert.match(examples[1]?.place ?? '', /\.csv:6$/)
  assert.match(warnings[0] ?? '', /column "text" is empty \(line 5\)/)
  const tabs = await read('text\ttext_pair\tlabel\none, two\tthree\tx\n', defaultColumns, 'tsv')
  assert.deepEqual(
    tabs.examples.map(({ text, textPair }) => [text, textPair]),
    [['one, two', 'three']],
  )
})

test('errors in a CSV name the file and the line', async () => {
  await assert.rejects(csv('text,label\na,x\nb, c,y\n'), /\.csv:3: the row has 3 fields, but the header has 2 columns/)
  await assert.rejects(csv('text,tag\na,x\n'), /there is no column "label"; the file has "text", "tag"/)
  await assert.rejects(csv('text,text,label\na,b,x\n'), /column "text" occurs twice/)
  const broken = Buffer.concat([Buffer.from('text,label\na,x\n'), Buffer.from([0xff]), Buffer.from(',y\n')])
  await assert.rejects(csv(broken), /\.csv:3: column 1 of the line is not UTF-8/)
})

test('errors say what to do about spreadsheets, encodings and task files', async () => {
  await assert.rejects(
    csv(Buffer.from('PK\u0003\u0004\u00ff\n', 'latin1')),
    /not a text file but a ZIP archive or an Excel/,
  )
  await assert.rejects(csv(Buffer.from('text,label\ncaf\u00e9,x\n', 'latin1')), /iconv -f WINDOWS-1252 -t UTF-8/)
  await assert.rejects(readExamples(tmpdir(), defaultColumns).next(), /expected a data file that ends in/)
  await assert.rejects(readExamples('task.safetensors', defaultColumns).next(), /looks like a task file/)
})

test('numbers in a CSV with a fraction mean regression, and then all labels must be numbers', async () => {
  const { problem, range } = await survey('text,label\na,1\nb,2.5\n', 'csv')
  assert.deepEqual([problem, range], ['regression', [1, 2.5]])
  assert.deepEqual((await survey('text,label\na,10\nb,9\n', 'csv')).labels, ['9', '10'])
  const mixed = 'text,label\na,1.5\nb,high\n'
  await assert.rejects(survey(mixed, 'csv'), /\.csv:3: the label is "high", but other labels are numbers/)
  assert.deepEqual((await survey(mixed, 'csv', 'single_label_classification')).labels, ['1.5', 'high'])
  const space = await survey('text,label\na,1\nb,2.5\n', 'csv')
  // The labels have the mean 1.75 and the standard deviation 0.75.
  const target = problemTraits.regression.targets(space, { place: 'x', text: 'x', label: '2.25' })
  assert.deepEqual(target, [(2.25 - 1.75) / 0.75])
  assert.throws(
    () => problemTraits.regression.targets(space, { place: 'dev.csv:4', text: 'x', label: 'inf' }),
    /dev\.csv:4: .*"inf"/,
  )
})

test('errors name the file, the line and the column', async () => {
  await assert.rejects(read('{"text":"a","label":"x"}\n{"text":"b","label":NaN}'), /\.jsonl:2: not JSON/)
  await assert.rejects(read('7'), /:1: expected a JSON object/)
  await assert.rejects(read('x'.repeat(17 * 1024 * 1024)), /:1: the line is longer than 16777216 characters/)
  await assert.rejects(read('{"text":{"en":"a"},"label":"x"}'), /:1: column "text" is \{"en":"a"\}; expected a text/)
  await assert.rejects(read('{"text":"a","label":{"x":1}}'), /:1: column "label" is \{"x":1\}; expected a label/)
  await assert.rejects(read('{"text":"a"}'), /there is no column "label"; the file has "text"/)
  const broken = Buffer.concat([Buffer.from(row('x')), Buffer.from([0x22, 0xff, 0x22])])
  await assert.rejects(read(broken), /:2: column 2 of the line is not UTF-8/)
  await assert.rejects(
    readExamples('rows.xlsx', defaultColumns).next(),
    /rows\.xlsx: expected a data file that ends in .*\.jsonl.*\. Save the sheet of a spreadsheet as CSV/,
  )
  await assert.rejects(
    readExamples('none.jsonl', defaultColumns).next(),
    /none\.jsonl cannot be read: there is no such file/,
  )
})

test('reads labelled words from arrays, and from strings if the columns are tagged', async () => {
  const tagged = { ...defaultColumns, tagged: true }
  const expected = { text: 'In 😀 Rome', words: ['In', '😀', 'Rome'], label: ['O', 'O', 'B-LOC'] }
  const shown = ({ examples: [row] }: { examples: Example[] }) => ({
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
  const { examples, warnings } = await read('text,label\n ,\na,O\n', tagged, 'csv')
  assert.equal(examples.length, 1)
  assert.match(warnings[0] ?? '', /column "text" is empty \(line 2\)/)
})

test('errors about words and labels that do not match name the file, the line and the column', async () => {
  const tagged = { ...defaultColumns, tagged: true }
  await assert.rejects(read(row(['O'], ['a', 'b'])), /:1: column "label" has 1 labels, but column "text" has 2 words/)
  await assert.rejects(
    read('text,label\na b,O O\na b,O O O\n', tagged, 'csv'),
    /\.csv:3: column "label" has 3 labels, but column "text" has 2 words/,
  )
  await assert.rejects(read('text,label\na b,\n', tagged, 'csv'), /\.csv:2: column "label" has 0 labels/)
  await assert.rejects(read(row(['O', ''], ['a', 'b'])), /:1: column "label": label 2 is ""; expected a label/)
  await assert.rejects(read(row(['O', 3], ['a', 'b'])), /:1: column "label": label 2 is 3, a number/)
  await assert.rejects(read(row(['O', null], ['a', 'b'])), /:1: column "label": label 2 is null; expected a label/)
  await assert.rejects(read(row(['O', 'O'], ['a', ' '])), /:1: column "text": word 2 is " "; expected a word/)
  await assert.rejects(read(row(['O', 'O'], ['a', ['b']])), /:1: column "text": word 2 is \["b"\]; expected a word/)
  await assert.rejects(read(row(3, 'a b'), tagged), /:1: column "label" is 3; expected a label for each word/)
  await assert.rejects(read('{"text":7,"label":"O"}', tagged), /:1: column "text" is 7; expected words/)
  await assert.rejects(
    read('{"text":["a"],"text_pair":"b","label":["O"]}'),
    /:1: column "text_pair" has a second text; labelled words must belong to one text/,
  )
  await assert.rejects(
    read(row(['x'], ['a']), { ...defaultColumns, tagged: false }),
    /:1: column "text" is \["a"\]; expected a text/,
  )
})

test('a feature extraction needs pairs of texts with a number each', async () => {
  const pair = (label: unknown) => `${JSON.stringify({ text: 'a', text_pair: 'b', label })}\n`
  assert.deepEqual(await survey(pair(0) + pair(5), 'jsonl', 'feature_extraction'), {
    problem: 'feature_extraction',
    labels: [],
    range: [0, 5],
  })
  await assert.rejects(survey(row(1), 'jsonl', 'feature_extraction'), /there is no column "text_pair"/)
  await assert.rejects(
    survey(pair('1') + pair('same'), 'jsonl', 'feature_extraction'),
    /:2: the label is "same", but other labels are numbers; a feature_extraction needs finite numbers/,
  )
  await assert.rejects(
    survey(pair(['x']), 'jsonl', 'feature_extraction'),
    /a feature_extraction cannot have labels of kind "array"/,
  )
  await assert.rejects(survey(pair(2) + pair(2), 'jsonl', 'feature_extraction'), /every row has the same number, 2/)
})

test('finds the problem type from the labels', async () => {
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
  // An array of words has a label for each word. An array of labels for one text lists those that apply.
  const { problem, labels } = await survey(row(['O', 'B-X'], ['a', 'b']) + row(['O'], ['a']))
  assert.equal(problem, 'token_classification')
  // A word after one with B-X may continue its entity.
  assert.deepEqual(labels, ['B-X', 'I-X', 'O'])
  assert.equal((await survey(row(['a', 'b'], 'two words') + row(['a', 'b']))).problem, 'multi_label_classification')
  assert.equal((await survey('text,label\na b,O X\nc d,X O\n', 'csv')).problem, 'single_label_classification')
})

test('in CSV, commas separate the labels of a multi-label classification', async () => {
  const several = 'text,label\na,"x, y"\nb,\nc,y\n'
  assert.deepEqual(await survey(several, 'csv', 'multi_label_classification'), {
    problem: 'multi_label_classification',
    labels: ['x', 'y'],
  })
  const { examples } = await read(several, columnsFor('multi_label_classification', defaultColumns), 'csv')
  assert.deepEqual(
    examples.map(({ label }) => label),
    [['x', 'y'], [], ['y']],
  )
})

test('rejects labels that cannot be trained on', async () => {
  await assert.rejects(survey(row('a') + row('a')), /every row has the same label, "a"/)
  await assert.rejects(survey(row(1.5) + row(1.5)), /every row has the same number, 1.5/)
  await assert.rejects(
    survey(row('a') + row(1)),
    /:2: the label is of kind "number"; the labels before it are of kind "text"/,
  )
  await assert.rejects(survey(row(['O', 'O'], ['a', 'b'])), /every word has the same label, "O"/)
  await assert.rejects(
    survey(row(['O', 'O'], ['a', 'b']) + row('x')),
    /:2: the label is of kind "text"; the labels before it are of kind "words"/,
  )
  await assert.rejects(survey('\n'), /the file has no examples/)
})

test('the error for a label that only the dev part has names its place', async () => {
  const space = await survey(row('a') + row('b'))
  const example = { place: 'dev.jsonl:7', text: 'x', label: 'c' }
  assert.throws(
    () => problemTraits.single_label_classification.targets(space, example),
    /dev\.jsonl:7: label "c" is not a label of the task; expected one of "a", "b"/,
  )
})
