// What is stored of a row and written as a line of JSON Lines is read back as the same example, for all problem types.

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type Columns, columnsFor, defaultColumns } from '../../src/data/columns.js'
import { type Example, readExamples } from '../../src/data/examples.js'
import { exampleLine, exampleOf, type StoredExample } from '../../src/examples/example.js'
import { ExampleStore } from '../../src/examples/example-store.js'
import { finish } from '../../src/steps.js'
import { operator } from '../../src/tenants/tenant.js'
import { temporaryDirectory } from '../material.js'
import { openStore } from '../tenants/material.js'

async function read(
  name: string,
  content: string,
  columns: Columns = defaultColumns,
): Promise<Omit<Example, 'place'>[]> {
  const path = join(await temporaryDirectory(), name)
  await writeFile(path, content)
  const examples: Omit<Example, 'place'>[] = []
  for await (const { place: _place, ...example } of readExamples(path, columns)) examples.push(example)
  return examples
}

const json = (value: unknown) => JSON.stringify(value)

/** Files whose examples are stored, by what they have. */
const files: Readonly<Record<string, readonly [name: string, content: string, columns?: Columns]>> = {
  classes: ['a.csv', 'text,label\n"one, two",pos\n"line\nbreak","a ""b"""\n true ,3\n🙂,false\n'],
  numbers: [
    'a.jsonl',
    '{"text":"a","label":1}\n{"text":"b","label":-2.5}\n{"text":"c","label":1.2345678901234568e20}\n{"text":"d","label":5e-324}\n' +
      '{"text":"e","label":9007199254740993}\n{"text":"f","label":-12345678901234567890}\n{"text":"g","label":0.1}\n{"text":12345678901234567890,"label":"x"}',
  ],
  'classes that are digits': ['a.csv', 'text,label\na,1\nb,01\nc,1.0\nd,9007199254740993\ne,1e3\n'],
  'truth values': [
    'a.json',
    json([
      { text: 'a', label: true },
      { text: false, label: false },
    ]),
  ],
  pairs: ['a.tsv', 'text\ttext_pair\tlabel\na\tb\tyes\nc\t\tno\n'],
  'pairs with numbers': ['a.csv', 'text,text_pair,label\na,b,0.5\nc,d,1\n'],
  'sets of classes': [
    'a.json',
    json([
      { text: 'a', label: ['x', 'y'] },
      { text: 'b', label: [] },
      { text: 'c', label: ['x'] },
      { text: 'd', label: [1, true, 'null', '[1]'] },
    ]),
  ],
  'sets of classes in cells': [
    'a.csv',
    'text,label\na,x;y\nb,\nc,z\n',
    columnsFor('multi_label_classification', defaultColumns),
  ],
  words: [
    'a.json',
    json([
      { text: ['John', 'Smith', 'New York', '🙂'], label: ['B-PER', 'I-PER', 'B-LOC', 'O'] },
      { text: ['one'], label: ['O'] },
    ]),
  ],
  'words of CoNLL': ['a.conll', 'EU B-ORG\nrejects O\n\nGerman B-MISC\ncall O\n'],
  entities: [
    'a.jsonl',
    `${json({
      text: 'I met 🙂 Ann in Rome',
      label: [
        [8, 11, 'PER'],
        [15, 19, 'LOC'],
      ],
    })}\n${json({ text: 'none', label: [] })}`,
    columnsFor('token_classification', defaultColumns),
  ],
  'entities of annotation tools': [
    'a.jsonl',
    json({ text: '🙂🙂 Ann', entities: [{ start_offset: 3, end_offset: 6, label: 'PER' }] }),
  ],
  'odd texts': [
    'a.jsonl',
    '{"text":"\\u0000 \\ud83d","label":"a"}\n{"text":"[\\"a\\"]","label":"b"}\n{"text":"1234567890123456789","label":"__proto__"}',
  ],
}

describe('an example that is stored, written as a line and read', () => {
  for (const [what, [name, content, columns]] of Object.entries(files))
    test(`is the same: ${what}`, async () => {
      const expected = await read(name, content, columns)
      const { store } = await openStore()
      const examples = new ExampleStore(store)
      for (const example of expected)
        await examples.put(operator, 't', [exampleOf({ place: '', ...example }, { source: 'upload' })])
      const stored: readonly StoredExample[] = finish(examples.page(operator, 't', { limit: 100 })).examples
      const again = await read('again.jsonl', stored.map(exampleLine).join('\n'), columns)
      const key = (example: object) => JSON.stringify(example)
      assert.deepEqual(
        again.toSorted((a, b) => (key(a) < key(b) ? -1 : 1)),
        expected.toSorted((a, b) => (key(a) < key(b) ? -1 : 1)),
      )
      await store.close()
    })
})
