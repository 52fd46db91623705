// Files with a word and its tags on each line.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { defaultColumns } from '../../src/data/columns.js'
import { readExamples } from '../../src/data/examples.js'
import { openRows } from '../../src/data/file-rows.js'
import { surveyFile } from '../../src/data/file-survey.js'

const folder = await mkdtemp(join(tmpdir(), 'propetl-conll-'))
after(() => rm(folder, { recursive: true }))

async function write(name: string, content: string): Promise<string> {
  const path = join(folder, name)
  await writeFile(path, content)
  return path
}

/** `place words labels` of each example. */
async function read(name: string, content: string, columns: object = {}, warnings: string[] = []) {
  const path = await write(name, content)
  const found: string[] = []
  const onWarning = (what: string) => void warnings.push(what.replace(`${folder}/`, ''))
  for await (const { place, text, label } of readExamples(path, { ...defaultColumns, ...columns }, { onWarning }))
    found.push(`${place.slice(folder.length + 1)} ${text} ${[label].flat().join(' ')}`)
  return found
}

const graceAndAda = ['Grace Hopper lives in Paris B-PER I-PER O O B-LOC', 'Ada lives there B-PER O O']

describe('a file of words and tags', () => {
  test('has the word in the first column and the tag in the last one', async () => {
    const content =
      '-DOCSTART- -X- -X- O\n\nGrace NN B-NP B-PER\nHopper NN I-NP I-PER\nlives NN O O\nin NN O O\nParis NN B-NP B-LOC\n\n' +
      'Ada NN B-NP B-PER\nlives NN O O\nthere NN O O\n'
    const expected = [`words.txt:3 ${graceAndAda[0]}`, `words.txt:9 ${graceAndAda[1]}`]
    assert.deepEqual(await read('words.txt', content), expected)
    assert.equal((await openRows(join(folder, 'words.txt'))).format, 'CoNLL, 4 columns, UTF-8')
    assert.deepEqual(await read('words.conll', content.replaceAll('\n', '\r\n')), [
      `words.conll:3 ${graceAndAda[0]}`,
      `words.conll:9 ${graceAndAda[1]}`,
    ])
    const [first] = await read('other.txt', content, { label: '3' })
    assert.match(first ?? '', /B-NP I-NP O O B-NP$/)
  })

  test('may have tabs, a line of names, comments, and spaces in blank lines', async () => {
    const lines = 'Grace\tB-PER\nHopper\tI-PER\nlives\tO\nin\tO\nParis\tB-LOC\n \nAda\tB-PER\nlives\tO\nthere\tO'
    const expected = (name: string, first: number) => [
      `${name}:${first} ${graceAndAda[0]}`,
      `${name}:${first + 6} ${graceAndAda[1]}`,
    ]
    assert.deepEqual(await read('plain.tsv', lines), expected('plain.tsv', 1))
    assert.deepEqual(await read('header.tsv', `text\tlabel\n${lines}`), expected('header.tsv', 2))
    assert.deepEqual(await read('ner.tsv', `Token\tNER_tag\n${lines}`, { label: 'ner_tag' }), expected('ner.tsv', 2))
    assert.deepEqual(await read('comments.tsv', `# id 7\n\n# text = x\n${lines}`), expected('comments.tsv', 4))
  })

  test('may be CoNLL-U, whose tags are the parts of speech', async () => {
    const word = (id: string, form: string, upos: string) => `${id}\t${form}\t_\t${upos}\t_\t_\t_\t_\t_\t_`
    const content = ['# sent_id = 1', word('1-2', "don't", '_'), word('1', 'do', 'AUX'), word('2', "n't", 'PART'), '']
    const path = 'ud.conllu'
    assert.deepEqual(await read(path, `${content.join('\n')}\n${word('1', 'Go', 'VERB')}\n`), [
      `${path}:3 do n't AUX PART`,
      `${path}:6 Go VERB`,
    ])
  })

  test('may have lines without a word, which are left out with a warning', async () => {
    const warnings: string[] = []
    assert.deepEqual(await read('empty.tsv', 'a\tO\n\tO\nb\tB-X\n\nc\tO\n', {}, warnings), [
      'empty.tsv:1 a b O B-X',
      'empty.tsv:5 c O',
    ])
    assert.deepEqual(warnings, ['empty.tsv:2: the line has a tag but no word; such lines are left out'])
  })

  test('with a line of other columns is rejected, with its place', async () => {
    const lines = 'a\tO\nb\tB-X\n\n'.repeat(10)
    await assert.rejects(read('short.tsv', `${lines}c\n`), /short\.tsv:31: the line has 1 columns; the others have 2/)
  })

  test('without blank lines is rejected once a sentence is too long', async () => {
    await assert.rejects(
      read('long.conll', 'a\tO\n'.repeat(100_001)),
      /long\.conll:1: the sentence has more than 100000 words/,
    )
  })

  test('is not what a table of texts is taken for', async () => {
    const table = 'text\tlabel\na good film\tyes\n\na bad film\tno\n'
    assert.deepEqual(await read('table.tsv', table), ['table.tsv:2 a good film yes', 'table.tsv:4 a bad film no'])
  })
})

/** Sentences of a labelled text in several notations. */
const notations: Readonly<Record<string, readonly [labels: string, scheme: string]>> = {
  bio: ['B-PER I-PER O B-LOC', 'IOB2'],
  bioes: ['B-PER E-PER O S-LOC', 'BIOES'],
  bilou: ['B-PER L-PER O U-LOC', 'BILOU'],
  io: ['I-PER I-PER O I-LOC', 'IO'],
  underscore: ['B_PER I_PER O B_LOC', 'IOB2'],
  suffix: ['PER-B PER-I O LOC-B', 'IOB2'],
}

for (const [name, [labels, scheme]] of Object.entries(notations))
  test(`a file with ${name} tags gives the labels of IOB2, and names its scheme`, async () => {
    const row = JSON.stringify({ text: ['Grace', 'Hopper', 'loves', 'Paris'], label: labels.split(' ') })
    const { labels: survey } = await surveyFile(await write(`${name}.jsonl`, `${row}\n${row}\n`), {
      columns: defaultColumns,
    })
    const { space } = survey
    assert.equal(space.problem, 'token_classification')
    assert.deepEqual(space.labels, ['B-LOC', 'B-PER', 'I-LOC', 'I-PER', 'O'])
    assert.equal(space.tagScheme, scheme)
  })

test('lists of words and tags in cells of CSV are read in the notations of JSON and Python', async () => {
  const json = 'text,label\n"[""Grace"", ""Hopper""]","[""B-PER"", ""I-PER""]"\n"[""a"", ""b""]","[""O"", ""O""]"\n'
  const python = `text,label\n"['Grace', 'Hopper']","['B-PER', 'I-PER']"\n"['a', 'b']","['O', 'O']"\n`
  for (const [name, content] of Object.entries({ 'json.csv': json, 'python.csv': python }))
    assert.deepEqual(await read(name, content), [`${name}:2 Grace Hopper B-PER I-PER`, `${name}:3 a b O O`])
})

test('tags that are numbers need the names of the labels', async () => {
  const rows = '{"text":["Grace","Hopper"],"label":[1,2]}\n{"text":["a","b"],"label":[0,0]}\n'
  await assert.rejects(
    read('numbers.jsonl', rows),
    /numbers\.jsonl:1: column "label": label 1 is 1, a number\. Give the names of the labels .*--label-names O,B-PER,I-PER/,
  )
  const labelNames = ['O', 'B-PER', 'I-PER']
  assert.deepEqual(await read('numbers.jsonl', rows, { labelNames }), [
    'numbers.jsonl:1 Grace Hopper B-PER I-PER',
    'numbers.jsonl:2 a b O O',
  ])
  await assert.rejects(read('numbers.jsonl', rows, { labelNames: ['O', 'B-PER'] }), /label 2 is 2, but .* 0 to 1/)
})
