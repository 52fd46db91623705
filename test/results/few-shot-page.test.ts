// The page about few labelled examples: means over samples, gains with standard errors, and the mean over tasks.

import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { drawSample, secondsLeft } from '../../bench/results/few-shot.js'
import { fewShotPage } from '../../bench/results/few-shot-page.js'
import {
  appendFewShot,
  type FewShotRun,
  readFewShot,
  type SampleSize,
  type Setup,
  setupOf,
} from '../../bench/results/few-shot-run.js'
import { temporaryFolder } from './material.js'

const setup: Setup = setupOf({
  ...{ model: 'tiny', backbone: 'b1', prototype: 'p1', learnedOn: ['sst2', 'subj'], masks: { sst2: 'm1' } },
  textPrefix: '',
})
const eight: SampleSize = { count: 8, each: 'label' }
const all: SampleSize = { count: 200, each: 'all' }

const run = (task: string, sample: number, learn: number, changes: Partial<FewShotRun> = {}): FewShotRun => ({
  ...{ task, sample, learn, start: 'sst2', epoch: 0, trainRows: 16, testRows: 100, size: eight },
  ...{ headAlone: 0.7, mask: 0.65, logisticRegression: 0.6, calibrationError: 0.05 },
  ...{ seconds: 10 * sample, secondsToHead: 2, allSeconds: 20 * sample, setup, version: 'v1', program: '0' },
  ...changes,
})

test('a row has the means over the samples, and the gain with its standard error', () => {
  const page = fewShotPage([run('mpqa', 1, 0.62), run('mpqa', 2, 0.66, { start: 'no mask' }), run('mpqa', 3, 0.67)])
  // Gains of 2, 6 and 7 points: mean 5, sample deviation √7, standard error √7/√3 = 1.53.
  assert.match(
    page,
    /^\| 8 rows a label, mpqa \| 3 \| 0\.650 \| 0\.700 \| 0\.650 \| 0\.600 \| \+5\.0 ± 1\.5 \| 2 of 3 \| 0\.050 \| 2\.0 \| 20 \|$/m,
  )
  assert.match(page, /trained on sst2 and subj\.\nMasks may start from those of sst2\./)
})

test('the mean over tasks gives each task the same weight, and sizes have their own rows', () => {
  const page = fewShotPage([
    ...[run('mpqa', 1, 0.62), run('mpqa', 2, 0.62), run('trec', 1, 0.5)],
    run('trec', 1, 0.7, { size: all }),
  ])
  // +2 and −10 points.
  assert.match(page, /\*\*8 rows a label, mean of 2 tasks\*\* \|( \|)+ \*\*−4\.0\*\*/)
  assert.match(page, /\| 200 rows, trec \| 1 \| 0\.700 .* \| \+10\.0 \| 1 of 1 \|/)
  assert.match(page, /Not measured, because such samples take long: 200 rows of mpqa\./)
})

test('each prototype has a section, and their gains are compared', () => {
  const other = { setup: { ...setup, prototype: 'p2', textPrefix: 'query: ' }, version: 'v2' }
  const page = fewShotPage([run('trec', 1, 0.7), run('trec', 1, 0.9, other)])
  assert.match(page, /\| 8 rows a label \| 0\.700 \(\+10\.0\) \| 0\.900 \(\+30\.0\) \|/)
  assert.match(
    page,
    /## tiny, prototype p1\n[\s\S]*## tiny, prototype p2\n[\s\S]*prefix `query: `[\s\S]* trec \| 1 \| 0\.900 /,
  )
})

test('runs of earlier versions are left out', () => {
  const page = fewShotPage([
    ...[run('mpqa', 1, 0.1), run('mpqa', 1, 0.9, { version: 'v2' })],
    run('trec', 1, 0.5, { setup: { ...setup, prototype: 'p0', learner: 0 }, version: 'v0' }),
  ])
  assert.match(page, /mpqa \| 1 \| 0\.900/)
  assert.doesNotMatch(page, /trec|0\.100/)
})

test('plain adapters have a table of their own', () => {
  const page = fewShotPage([
    run('mpqa', 1, 0.7, { size: all, plainAdapter: 0.68 }),
    run('trec', 1, 0.7, { size: all, plainAdapter: 0.74 }),
    run('trec', 1, 0.7),
  ])
  assert.match(page, /\| 200 rows, mpqa \| 1 \| 0\.700 \| 0\.680 \| \+2\.0 \|/)
  assert.match(page, /\*\*200 rows, mean of 2 tasks\*\* \| \| \| \| \*\*−1\.0\*\* \|/)
})

test('the last run of a sample replaces earlier ones in the store', async () => {
  const store = join(await temporaryFolder(), 'few-shot.jsonl')
  await appendFewShot(store, run('mpqa', 1, 0.5))
  await appendFewShot(store, run('mpqa', 2, 0.6))
  await appendFewShot(store, run('mpqa', 1, 0.5, { plainAdapter: 0.4 }))
  const stored = await readFewShot(store)
  assert.deepEqual(
    stored.map(({ sample, plainAdapter }) => [sample, plainAdapter]),
    [
      [1, 0.4],
      [2, undefined],
    ],
  )
})

test('samples are balanced by label or drawn from all rows, and smaller ones are part of larger ones', () => {
  const rows = Array.from({ length: 60 }, (_, i) =>
    JSON.stringify({ text: `${i}`, label: i % 6 === 0 ? 'rare' : 'common' }),
  )
  const labels = (sample: readonly string[]) =>
    sample.map((line) => (JSON.parse(line) as { label: string }).label).sort()
  const two = drawSample(rows, { count: 2, each: 'label' }, 1)
  assert.deepEqual(labels(two), ['common', 'common', 'rare', 'rare'])
  const four = drawSample(rows, { count: 4, each: 'label' }, 1)
  assert.ok(two.every((line) => four.includes(line)))
  assert.equal(drawSample(rows, { count: 20, each: 'all' }, 1).length, 20)
  assert.notDeepEqual(drawSample(rows, { count: 2, each: 'label' }, 2), two)
})

test('the time left is that of the same samples, or else of those with the most similar number of rows', () => {
  const finished = [run('mpqa', 1, 0.5), run('trec', 2, 0.5, { trainRows: 100 })]
  const waiting = [
    { task: 'mpqa', size: eight, trainRows: 16 },
    { task: 'new', size: all, trainRows: 200 },
  ]
  assert.equal(secondsLeft(waiting, finished), 20 + 40)
})
