// Names with punctuation: learn, evaluate and a server give the same score, and entities are whole names.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { promisify } from 'node:util'
import { readTaskFile } from '../../src/petl/task-file.js'
import { cli, serveAny } from '../server-process.js'

const run = promisify(execFile)
const folder = await mkdtemp(join(tmpdir(), 'propetl-entities-'))
after(() => rm(folder, { recursive: true }))
const propetl = (...args: string[]) => run(process.execPath, [cli, ...args], { cwd: folder })

const names = {
  ORG: ['Coca-Cola', 'Rolls-Royce', 'AT&T', 'Yahoo!', 'Procter & Gamble'],
  PER: ["Mary O'Brien", 'Jean-Luc Moreau', 'J.R. Smith', 'Anna Lopez'],
  LOC: ['St. Louis', 'Port-au-Prince', 'U.S.', 'Paris'],
} as const
const templates = ['PER joined ORG in LOC last year', 'ORG opened an office in LOC', 'In LOC PER met the board of ORG']

/** Sentences of words with BIOES tags, which name each type in turn. */
function rows(from: number, to: number): string {
  return Array.from({ length: to - from }, (_, at) => {
    const i = from + at
    const words: string[] = []
    const tags: string[] = []
    for (const word of (templates[i % templates.length] ?? '').split(' ')) {
      const own = word in names ? names[word as keyof typeof names] : undefined
      const parts = own ? (own[Math.floor(i / 3) % own.length] ?? '').split(' ') : [word]
      words.push(...parts)
      tags.push(...parts.map((_, part) => (own ? `${prefix(part, parts.length)}-${word}` : 'O')))
    }
    return JSON.stringify({ text: words, label: tags })
  }).join('\n')
}

const prefix = (part: number, parts: number): string =>
  parts === 1 ? 'S' : part === 0 ? 'B' : part === parts - 1 ? 'E' : 'I'

test('entities with punctuation are served whole, and all commands give the score of what is served', async () => {
  await writeFile(join(folder, 'train.jsonl'), rows(0, 45))
  await writeFile(join(folder, 'dev.jsonl'), rows(45, 69))
  await mkdir(join(folder, 'none'))
  const quick = ['--epochs', '1', '--start-masks', 'none', '--no-baseline', '--threads', '1', '--json']
  const { stdout } = await propetl('learn', 'train.jsonl', '--dev', 'dev.jsonl', '--out', 'names.safetensors', ...quick)
  const { score, metric } = JSON.parse(stdout) as { score: number; metric: string }
  assert.equal(metric, 'span_f1')
  assert.ok(score > 0.7, `${score}`)

  const file = await readFile(join(folder, 'names.safetensors'))
  const task = readTaskFile(file)
  assert.deepEqual(task.labels, ['B-LOC', 'B-ORG', 'B-PER', 'I-LOC', 'I-ORG', 'I-PER', 'O'])
  assert.deepEqual([...(task.words?.whole ?? [])].sort(), ['St.', 'Yahoo!'])

  const { url } = await serveAny('--data-dir', join(folder, 'data'))
  await fetch(`${url}/tasks/names`, {
    method: 'PUT',
    body: file,
    headers: { 'content-type': 'application/octet-stream' },
  })
  for (const place of ['names.safetensors', `${url}/tasks/names`]) {
    const evaluated = JSON.parse((await propetl('evaluate', place, 'dev.jsonl', '--json')).stdout)
    assert.equal(evaluated.metric, 'span_f1')
    assert.ok(Math.abs(evaluated.score - score) < 1e-9, `${place}: ${evaluated.score} and ${score}`)
  }

  const response = await fetch(`${url}/tasks/names/predict`, {
    method: 'POST',
    body: JSON.stringify({ inputs: 'Anna Lopez joined Coca-Cola, in Port-au-Prince (U.S.), last year.', top_k: 1 }),
    headers: { 'content-type': 'application/json' },
  })
  type Part = { readonly text: string }
  const { predictions } = (await response.json()) as { predictions: { words: Part[]; entities: Part[] }[] }
  assert.deepEqual(
    predictions[0]?.words.map(({ text }) => text),
    [
      ...[
        'Anna',
        'Lopez',
        'joined',
        'Coca-Cola',
        ',',
        'in',
        'Port-au-Prince',
        '(',
        'U.S.',
        ')',
        ',',
        'last',
        'year',
        '.',
      ],
    ],
  )
  const entities = predictions[0]?.entities.map(({ text }) => text) ?? []
  for (const name of ['Anna Lopez', 'Coca-Cola', 'Port-au-Prince']) assert.ok(entities.includes(name), entities.join())
  const described = (await (await fetch(`${url}/tasks/names`)).json()) as { words: string }
  assert.equal(described.words, 'rule')
})
