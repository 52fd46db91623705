// Exports of annotation tools: Label Studio, doccano, Argilla and Prodigy.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { columnsFor, defaultColumns } from '../../src/data/columns.js'
import { readExamples } from '../../src/data/examples.js'
import type { ProblemType } from '../../src/petl/task.js'
import { fileOf, surveyOf } from './files.js'

function write(content: unknown, extension: string): Promise<string> {
  const lines = () => (content as readonly unknown[]).map((row) => JSON.stringify(row)).join('\n')
  return fileOf(
    `a${extension}`,
    typeof content === 'string' ? content : extension === '.json' ? JSON.stringify(content) : lines(),
  )
}

interface ReadOptions {
  readonly extension?: string
  readonly columns?: object
  readonly problem?: ProblemType
  readonly warnings?: string[]
}

/** The labels of each example; of spans, `label:part of the text`. */
async function read(
  content: unknown,
  { extension = '.jsonl', columns = {}, problem, warnings = [] }: ReadOptions = {},
) {
  const path = await write(content, extension)
  const found: unknown[] = []
  const named = columnsFor(problem, { ...defaultColumns, ...columns })
  const onWarning = (what: string) => void warnings.push(what.replace(path, 'file'))
  for await (const { text, label, spans } of readExamples(path, named, { onWarning }))
    found.push(spans ? spans.map(({ label, start, end }) => `${label}:${text.slice(start, end)}`) : label)
  return found
}

async function problemOf(content: unknown, extension = '.jsonl') {
  const { labels } = await surveyOf(await write(content, extension))
  return { problem: labels.space.problem, labels: labels.space.labels }
}

const text = 'Grace Hopper works in New York.'
const person = { start: 0, end: 12, text: 'Grace Hopper', labels: ['PER'] }
const place = { start: 22, end: 30, text: 'New York', labels: ['LOC'] }
const both = ['PER:Grace Hopper', 'LOC:New York']

describe('Label Studio', () => {
  const result = (from_name: string, type: string, value: object) => ({ from_name, to_name: 'text', type, value })
  const task = (...results: object[]) => ({
    id: 1,
    data: { text },
    annotations: [{ id: 2, result: results }],
    predictions: [],
  })

  test('exports of labelled parts are read from JSON, JSON-MIN and CSV', async () => {
    const json = [task(result('ner', 'labels', place), result('ner', 'labels', person)), task()]
    assert.deepEqual(await read(json, { extension: '.json', problem: 'token_classification' }), [both, []])
    assert.deepEqual(await read(json.slice(0, 1), { extension: '.json' }), [both])
    const min = [{ id: 1, text, label: [person, place], annotator: 1 }]
    assert.deepEqual(await read(min, { extension: '.json' }), [both])
    const cell = JSON.stringify([person, place]).replaceAll('"', '""')
    assert.deepEqual(await read(`text,id,label\n${text},1,"${cell}"\n`, { extension: '.csv' }), [both])
    assert.deepEqual(await problemOf(json, '.json'), {
      problem: 'token_classification',
      labels: ['B-LOC', 'B-PER', 'I-LOC', 'I-PER', 'O'],
    })
  })

  test('exports of choices are single-label if each text has one, and multi-label otherwise', async () => {
    const choice = (...choices: string[]) => task(result('sentiment', 'choices', { choices }))
    assert.deepEqual(await problemOf([choice('good'), choice('bad')], '.json'), {
      problem: 'single_label_classification',
      labels: ['bad', 'good'],
    })
    assert.deepEqual(await problemOf([choice('good', 'new'), choice('bad')], '.json'), {
      problem: 'multi_label_classification',
      labels: ['bad', 'good', 'new'],
    })
    const min = [
      { text, label: 'good' },
      { text, label: { choices: ['bad', 'new'] } },
    ]
    assert.equal((await problemOf(min, '.json')).problem, 'multi_label_classification')
  })

  test('tasks without an annotation are skipped, and cancelled annotations do not count', async () => {
    const warnings: string[] = []
    const cancelled = { was_cancelled: true, result: [result('ner', 'labels', person)] }
    const rows = [
      { data: { text }, annotations: [] },
      { data: { text }, annotations: [cancelled] },
      { data: { text }, annotations: [cancelled, { result: [result('ner', 'labels', place)] }] },
    ]
    assert.deepEqual(await read(rows, { extension: '.json', warnings }), [['LOC:New York']])
    assert.match(warnings.join(), /column "label" is empty/)
  })

  test('the control and the field are named if there are several', async () => {
    const row = {
      data: { title: 'x', body: text },
      annotations: [{ result: [result('ner', 'labels', person), result('topic', 'choices', { choices: ['job'] })] }],
    }
    await assert.rejects(
      read([row], { extension: '.json' }),
      /there is no column "text"; the file has .*"title", "body"/,
    )
    const columns = { text: 'body', label: 'ner' }
    assert.deepEqual(await read([row], { extension: '.json', columns }), [['PER:Grace Hopper']])
    assert.deepEqual(await read([row], { extension: '.json', columns: { text: 'body', label: 'topic' } }), [['job']])
  })
})

describe('doccano', () => {
  test('exports of labelled parts are read', async () => {
    const rows = [
      {
        id: 1,
        text,
        label: [
          [22, 30, 'LOC'],
          [0, 12, 'PER'],
        ],
        Comments: [],
      },
      { id: 2, text, label: [], Comments: [] },
    ]
    assert.deepEqual(await read(rows, { problem: 'token_classification' }), [both, []])
    assert.equal((await problemOf([...rows].reverse())).problem, 'token_classification')
    const entities = [{ id: 7, label: 'PER', start_offset: 0, end_offset: 12 }]
    assert.deepEqual(await read([{ id: 1, text, entities, relations: [] }]), [['PER:Grace Hopper']])
    assert.deepEqual(await read([{ id: 1, data: text, labels: [[0, 12, 'PER']] }]), [['PER:Grace Hopper']])
  })

  test('exports of classes are lists of labels', async () => {
    const rows = [
      { id: 1, text, label: ['a'] },
      { id: 2, text, label: ['b'] },
    ]
    assert.equal((await problemOf(rows)).problem, 'single_label_classification')
    assert.equal((await problemOf([...rows, { id: 3, text, label: ['a', 'b'] }])).problem, 'multi_label_classification')
  })
})

describe('Argilla', () => {
  const spans = [
    { label: 'PER', start: 0, end: 12 },
    { label: 'LOC', start: 22, end: 30 },
  ]
  const record = (responses: object) => ({
    id: '1',
    status: 'completed',
    fields: { text },
    metadata: {},
    suggestions: {},
    responses,
  })

  test('records with responses to a question are read', async () => {
    assert.deepEqual(await read([record({ ner: [{ value: spans, user_id: 'u' }] })], { extension: '.json' }), [both])
    const good = record({
      label: [
        { value: 'good', status: 'discarded' },
        { value: 'bad', status: 'submitted' },
      ],
    })
    assert.deepEqual(await read([good, record({})]), ['bad'])
    const old = {
      fields: { text },
      responses: [{ user_id: 'u', status: 'submitted', values: { label: { value: 'good' } } }],
    }
    assert.deepEqual(await read([old]), ['good'])
  })

  test('the question is named if there are several', async () => {
    const row = record({ ner: [{ value: spans }], topic: [{ value: 'job' }] })
    await assert.rejects(read([row]), /there is no column "label"; the file has .*"ner", "topic"/)
    assert.deepEqual(await read([row], { columns: { label: 'topic' } }), ['job'])
  })

  test('records of the first version are read', async () => {
    const old = (annotation: unknown, more: object = {}) => ({
      text,
      annotation,
      prediction: null,
      status: 'Validated',
      ...more,
    })
    assert.deepEqual(
      await read([
        old([
          ['PER', 0, 12],
          ['LOC', 22, 30],
        ]),
      ]),
      [both],
    )
    const warnings: string[] = []
    const rows = [old('good'), old(null, { status: 'Default' }), old('bad', { status: 'Discarded' })]
    assert.deepEqual(await read(rows, { warnings }), ['good'])
    assert.match(warnings.join(), /2 rows/)
    assert.deepEqual(await read([{ inputs: { text }, annotation: 'good' }]), ['good'])
  })
})

test('examples of Prodigy that were rejected are skipped', async () => {
  const spans = [{ start: 0, end: 12, label: 'PER', token_start: 0, token_end: 1 }]
  assert.deepEqual(
    await read([
      { text, spans, answer: 'accept' },
      { text, spans, answer: 'reject' },
    ]),
    [['PER:Grace Hopper']],
  )
})

describe('labelled parts of a text', () => {
  test('count code points, or UTF-16 units if the file repeats the part', async () => {
    const emoji = '😀😀 Ada left'
    assert.deepEqual(await read([{ text: emoji, label: [[3, 6, 'PER']] }]), [['PER:Ada']])
    const inUtf16 = { start: 5, end: 8, text: 'Ada', labels: ['PER'] }
    assert.deepEqual(await read([{ text: emoji, label: [inUtf16] }]), [['PER:Ada']])
    assert.deepEqual(await read([{ text: emoji, label: [{ ...inUtf16, start: 3, end: 6 }] }]), [['PER:Ada']])
  })

  test('lose the white space at their ends, and the longer of two that overlap stays', async () => {
    const warnings: string[] = []
    const label = [
      [0, 13, 'PER'],
      [0, 5, 'FIRST'],
      [21, 30, 'LOC'],
    ]
    assert.deepEqual(await read([{ text, label }], { warnings }), [both])
    assert.deepEqual(warnings, [
      'file:1: the FIRST "Grace" overlaps the PER "Grace Hopper"; the shorter one is left out',
    ])
  })

  test('outside of the text, or other than the file says, are rejected with their place', async () => {
    await assert.rejects(
      read([{ text: 'Ada', label: [[0, 4, 'PER']] }]),
      /:1: the PER from 0 to 4 is not a part of the text, which has 3 characters/,
    )
    await assert.rejects(
      read([{ text, label: [{ ...person, text: 'Ada' }] }]),
      /:1: the PER from 0 to 12 is "Grace Hopper", but the file says "Ada"/,
    )
  })
})
