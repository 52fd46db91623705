// One task file has one score: learn, evaluate on the file, and evaluate against a server give the same number.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { readTaskFile } from '../../src/petl/task-file.js'
import { temporaryDirectory } from '../material.js'
import { cli, type ServerProcess, serveAny } from '../server-process.js'

const run = promisify(execFile)
const folder = await temporaryDirectory()
const propetl = async (...args: string[]) => (await run(process.execPath, [cli, ...args], { cwd: folder })).stdout

let server: ServerProcess
before(async () => {
  server = await serveAny('--data-dir', join(folder, 'data'))
})
after(() => server.process.kill('SIGTERM'))

type Row = Readonly<Record<string, string | number>>

/** Numbers that look random and are the same in every run. */
const mixed = (i: number, below: number) => Math.floor(Math.abs(Math.sin(12.9898 * (i + 1)) * 43758.5453) % below)
const pick = (list: readonly string[], i: number) => list[mixed(i, list.length)] ?? ''

const sport = [
  'the striker scored twice',
  'the goalkeeper saved a penalty',
  'fans cheered in the stadium',
  'a late tackle',
]
const cooking = [
  'simmer the onions in butter',
  'whisk the eggs with sugar',
  'bake the bread',
  'season the soup with salt',
]

/** A document about one subject that quotes older ones about both: only its first 30 tokens are of use. */
const document = (i: number): Row => {
  const own = i % 2 ? sport : cooking
  const tail = Array.from({ length: 30 }, (_, at) => pick([...sport, ...cooking], 31 * i + at))
  return {
    text: [pick(own, 7 * i), pick(own, 7 * i + 3), pick(own, 7 * i + 5), ...tail].join(' . '),
    label: i % 2 ? 'sport' : 'cooking',
  }
}

const pair = (i: number): Row => {
  const own = i % 2 ? sport : cooking
  const [text, second] = [pick(own, 5 * i), pick(i % 4 < 2 ? own : [...sport, ...cooking], 5 * i + 2)]
  return { text, text_pair: second, label: mixed(i, 50) / 10 + (i % 4 < 2 ? 2 : 0) }
}

const sentence = (i: number): Row => {
  const words = pick(i % 2 ? sport : cooking, 3 * i).split(' ')
  return { text: words.join(' '), label: words.map((word) => (word.length > 5 ? 'B-X' : 'O')).join(' ') }
}

interface Case {
  readonly name: string
  readonly row: (i: number) => Row
  readonly flags: readonly string[]
  readonly metadata: object
}

const cases: readonly Case[] = [
  {
    name: 'long documents',
    row: document,
    flags: ['--max-length', '32'],
    metadata: { maxLength: 32, inputs: 'text' },
  },
  {
    name: 'pairs with a prefix',
    row: pair,
    flags: ['--text-prefix', 'query: ', '--max-length', '24'],
    metadata: { maxLength: 24, textPrefix: 'query: ', inputs: 'pair' },
  },
  {
    name: 'words with a prefix',
    row: sentence,
    flags: ['--problem-type', 'token_classification', '--text-prefix', 'tag this: '],
    metadata: { maxLength: 128, textPrefix: 'tag this: ', inputs: 'text' },
  },
]

for (const { name, row, flags, metadata } of cases)
  test(`learn, evaluate on the file and evaluate against a server give the same score: ${name}`, async () => {
    const id = name.replaceAll(' ', '-')
    const rows = (first: number, count: number) =>
      Array.from({ length: count }, (_, i) => JSON.stringify(row(first + i))).join('\n')
    await mkdir(join(folder, 'none'), { recursive: true })
    await writeFile(join(folder, `${id}.jsonl`), rows(0, 32))
    await writeFile(join(folder, `${id}-dev.jsonl`), rows(1000, 30))
    const out = `${id}.safetensors`
    const quick = ['--epochs', '1', '--start-masks', 'none', '--threads', '1', '--no-baseline', '--json']
    const data = [`${id}.jsonl`, '--dev', `${id}-dev.jsonl`]
    const learned = JSON.parse(await propetl('learn', ...data, '--out', out, ...flags, ...quick)) as { score: number }

    const file = await readFile(join(folder, out))
    const { maxLength, textPrefix, inputs } = readTaskFile(file)
    assert.deepEqual({ maxLength, inputs, ...(textPrefix !== undefined && { textPrefix }) }, metadata)

    const evaluate = async (task: string) =>
      (JSON.parse(await propetl('evaluate', task, `${id}-dev.jsonl`, '--json', '--threads', '1')) as { score: number })
        .score
    const headers = { 'content-type': 'application/octet-stream' }
    const url = `${server.url}/tasks/${id}`
    assert.equal((await fetch(url, { method: 'PUT', headers, body: file })).status, 201)
    const scores = [learned.score, await evaluate(out), await evaluate(url)].map((score) => score.toFixed(4))
    assert.deepEqual(scores, Array(3).fill(scores[0]))

    const described = (await (await fetch(url)).json()) as Record<string, unknown>
    assert.deepEqual([described.max_length, described.text_prefix, described.inputs], [maxLength, textPrefix, inputs])
  })

test('a cut text is marked in the response, and its prediction ignores what was cut', async () => {
  const predict = async (text: string) => {
    const response = await fetch(`${server.url}/tasks/long-documents/predict`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ inputs: [text, 'the striker scored twice'], raw_scores: true }),
    })
    const { predictions } = (await response.json()) as { predictions: { score: number; truncated?: boolean }[] }
    return predictions
  }
  const start = `${sport.join(' . ')} . `.repeat(2)
  const [one, short] = await predict(start + cooking.join(' . ').repeat(9))
  const [other] = await predict(start + sport.join(' . ').repeat(9))
  assert.deepEqual([one?.truncated, short?.truncated], [true, undefined])
  assert.ok(Math.abs((one?.score ?? 0) - (other?.score ?? 1)) < 1e-5)
})
