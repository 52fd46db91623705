import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { evaluate } from '../../src/commands/evaluate.js'
import { confidenceInterval, scoreOf } from '../../src/learn/evaluation.js'
import { kinds } from '../../src/learn/kinds.js'
import type { LabelSpace } from '../../src/learn/label-space.js'
import { Random } from '../../src/learn/random.js'

const three: LabelSpace = { problem: 'single_label_classification', labels: ['a', 'b', 'c'] }
const several: LabelSpace = { problem: 'multi_label_classification', labels: ['a', 'b'] }

const starts = (rows: number) => Int32Array.from({ length: rows + 1 }, (_, row) => row)
const predictionsOf = (space: LabelSpace, outputs: Float32Array) => kinds[space.problem].predictions(space, outputs)

test('the largest output of a row is its class', () =>
  assert.deepEqual([...predictionsOf(three, Float32Array.of(0, 2, 1, -1, -3, -2))], [1, 0]))

test('of several labels each counts that reaches the threshold, and F1 is the mean over labels', () => {
  const logits = Float32Array.of(1, -1, 1, 1, -1, 0)
  const actual = Float32Array.of(1, 0, 0, 1, 1, 1)
  // a: one hit, one claimed falsely, one missed; b: both found, none claimed falsely.
  const score = (space: LabelSpace) =>
    scoreOf('macro_f1', space, { predictions: predictionsOf(space, logits), actual, starts: starts(3) })
  assert.equal(score(several), (0.5 + 1) / 2)
  // 0 stands for a probability of 0.5: from 0.6 on, one of the two of b is missed, F1 2/3.
  assert.equal(score({ ...several, threshold: 0.6 }), (0.5 + 2 / 3) / 2)
})

test('the interval of an accuracy is about what the binomial distribution says', () => {
  const rows = 400
  const actual = new Float32Array(rows)
  const predictions = Float32Array.from({ length: rows }, (_, row) => (row % 5 === 0 ? 1 : 0))
  const judged = { predictions, actual, starts: starts(rows) }
  const [low, high] = confidenceInterval('accuracy', three, judged, new Random(1, 'test'))
  const half = 1.96 * Math.sqrt((0.8 * 0.2) / rows)
  assert.ok(Math.abs(0.8 - half - low) < 0.15 * half && Math.abs(0.8 + half - high) < 0.15 * half, `${low} to ${high}`)
})

test('a task on a server is scored by what it answers', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'propetl-evaluate-'))
  const server = createServer((request, response) => {
    const answer = (value: unknown) => response.end(JSON.stringify(value))
    if (request.method === 'GET') return answer({ problem_type: 'single_label_classification', labels: ['no', 'yes'] })
    let body = ''
    request.on('data', (piece) => {
      body += piece
    })
    request.on('end', () => {
      const { inputs, raw_scores } = JSON.parse(body) as { inputs: { text: string }[]; raw_scores: boolean }
      assert.ok(raw_scores)
      answer({
        predictions: inputs.map(({ text }) => ({ scores: [{ score: 0 }, { score: text === 'good' ? 1 : -1 }] })),
      })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const path = join(folder, 'rows.jsonl')
  const rows = Array.from({ length: 50 }, (_, i) => ({
    text: i % 2 ? 'good' : 'bad',
    label: i % 2 || i < 10 ? 'yes' : 'no',
  }))
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\n'))
  const flags = {
    modelDir: '',
    threads: 1,
    maxLength: 64,
    seed: 1,
    textColumn: 'text',
    labelColumn: 'label',
    json: true,
  }
  try {
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/tasks/mood`
    const found = JSON.parse(await evaluate(address, path, flags)) as { rows: number; score: number }
    assert.equal(found.rows, 50)
    assert.equal(found.score, 0.9)
    await assert.rejects(
      evaluate(address, path, { ...flags, metric: 'pearson' }),
      /metric "pearson" does not go with a single_label_classification/,
    )
  } finally {
    server.close()
    await rm(folder, { recursive: true })
  }
})
