// The runner on a dozen examples of two tasks with the bundled backbone: stopped, continued and finished; and the command.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { comparedMethods } from '../../bench/results/compared-methods.js'
import { writePage } from '../../bench/results/page.js'
import { type RunnerOptions, runAll } from '../../bench/results/runner.js'
import { readRuns } from '../../bench/results/store.js'
import { modelDir, prototypeFile } from '../material.js'
import { temporaryFolder } from './material.js'

const folder = await temporaryFolder()
const store = join(folder, 'runs.jsonl')
const words = ['dog', 'cat', 'horse', 'hammer', 'saw', 'drill']
const examples = ['the', 'my'].flatMap((start) => words.map((word, i) => ({ text: `${start} ${word}`, i })))
for (const [task, label] of [
  ['kinds', (i: number) => (i < 3 ? 'animal' : 'tool')],
  ['sizes', (i: number) => i + 0.5],
] as const) {
  await mkdir(join(folder, 'data', task), { recursive: true })
  const lines = (start: string) =>
    examples.map(({ text, i }) => JSON.stringify({ text: `${start} ${text}`, label: label(i) })).join('\n')
  await writeFile(join(folder, 'data', task, 'train.jsonl'), lines('near'))
  await writeFile(join(folder, 'data', task, 'dev.jsonl'), lines('far from'))
}

const options: RunnerOptions = {
  data: join(folder, 'data'),
  methods: comparedMethods,
  seeds: [1],
  maxRows: 10,
  epochs: 1,
  combine: 'none',
  modelDir,
  prototypeDir: dirname(prototypeFile),
  store,
  provider: 'cpu',
  threads: 1,
}
const silent = { print: () => {}, show: () => {} }

test('a stopped runner stores no unfinished run, continues with the next call, and then has nothing to do', async () => {
  const stop = new AbortController()
  const places: string[] = []
  const show = (_: unknown, place: string) => {
    places.push(place)
    if (place.startsWith('run 3 ')) stop.abort()
  }
  const first = await runAll(options, { print: () => {}, show }, stop.signal)
  assert.deepEqual(first, { stored: 2, skipped: 0, failed: 0, stopped: true })
  assert.equal(places.at(-1), 'run 3 of 19 (single, kinds, seed 1)')
  assert.deepEqual(
    (await readRuns(store)).map(({ method }) => method),
    ['head', 'plain'],
  )

  const second = await runAll(options, silent, new AbortController().signal)
  assert.deepEqual(second, { stored: 17, skipped: 2, failed: 0, stopped: false })
  const runs = await readRuns(store)
  assert.deepEqual(runs.at(-1)?.tasks, ['kinds', 'sizes'])
  for (const { method, scores, steps, seconds } of runs) {
    for (const { score, trainRows } of scores) assert.ok(Number.isFinite(score) && score <= 1 && trainRows === 10)
    // A head alone has 50 epochs by default, which --epochs does not change.
    // A mask is not trained if the head that it starts with makes no error.
    if (method.startsWith('mask')) assert.ok(steps <= scores.length)
    else assert.equal(steps, method === 'head' ? 50 : scores.length)
    assert.ok(seconds > 0)
  }
  const stored = await readFile(store)
  const third = await runAll(options, silent, new AbortController().signal)
  assert.deepEqual(third, { stored: 0, skipped: 19, failed: 0, stopped: false })
  assert.deepEqual(await readFile(store), stored)

  const out = join(folder, 'results.md')
  assert.deepEqual(await writePage(store, out), [out, join(folder, 'results.svg')])
  assert.doesNotMatch(await readFile(out, 'utf8'), /Incomplete/)
})

test('the training of a head alone can be stopped', async () => {
  const stop = new AbortController()
  stop.abort()
  const other = join(folder, 'stopped.jsonl')
  const result = await runAll({ ...options, store: other }, silent, stop.signal)
  assert.deepEqual(result, { stored: 0, skipped: 0, failed: 0, stopped: true })
  assert.deepEqual(await readRuns(other), [])
})

const main = fileURLToPath(new URL('../../bench/results/main.js', import.meta.url))
const command = (...words: string[]) => promisify(execFile)(process.execPath, [main, ...words], { cwd: folder })

test('the help has an example, and mistakes exit with code 1 and a message', async () => {
  assert.match((await command('--help')).stdout, /Example:\n {2}\$ npm run results -- run --data/)
  await writeFile(join(folder, 'other.jsonl'), 'hello\n')
  for (const [words, message] of [
    ['run --data nowhere', /^results: nowhere cannot be read/],
    ['run --data data --tasks kinds,colours', /data has no task "colours"; it has kinds, sizes/],
    ['run --data data --methods head,tail', /Expected one or more of head, plain, single, multi, mask-one, mask-layer/],
    ['run --data data --seeds 1,1', /Expected different names, separated by commas/],
    ['run --data data --store other.jsonl', /other\.jsonl:1: not a finished run/],
    ['page --store other.jsonl', /other\.jsonl:1: not a finished run/],
    ['page --store none.jsonl', /none\.jsonl has no finished runs/],
  ] as const)
    await assert.rejects(command(...words.split(' ')), (error: Error & { code: number; stderr: string }) => {
      assert.equal(error.code, 1)
      assert.match(error.stderr, message)
      return true
    })
})
