// The page about few examples: means over samples, gains with standard errors, and the mean over tasks.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FewShotRun, SampleSize } from '../../bench/results/few-shot.js'
import { fewShotPage } from '../../bench/results/few-shot-page.js'

const run = (task: string, sample: number, learn: number, start = 'sst2', size?: SampleSize): FewShotRun => ({
  ...{ task, sample, learn, start, model: 'tiny', epoch: 0, trainRows: 16, testRows: 100 },
  ...{ size: size ?? { count: 8, each: 'label' }, headAlone: 0.7, logisticRegression: 0.6, calibrationError: 0.05 },
  seconds: 10 * sample,
})

test('a row has the means over the samples, and the gain with its standard error', () => {
  const page = fewShotPage([run('mpqa', 1, 0.62), run('mpqa', 2, 0.66, 'no mask'), run('mpqa', 3, 0.67)])
  // Gains of 2, 6 and 7 points: mean 5, sample deviation √7, standard error √7/√3 = 1.53.
  assert.match(
    page,
    /^\| 8 rows a label, mpqa \| 3 \| 0\.650 \| 0\.700 \| 0\.600 \| \+5\.0 ± 1\.5 \| 2 of 3 \| 0\.050 \| 20 \|$/m,
  )
})

test('the mean over tasks gives each task the same weight, and sizes and models have their own rows', () => {
  const all: SampleSize = { count: 200, each: 'all' }
  const page = fewShotPage([
    ...[run('mpqa', 1, 0.62), run('mpqa', 2, 0.62), run('trec', 1, 0.5)],
    run('trec', 1, 0.7, 'sst2', all),
    { ...run('trec', 1, 0.9), model: 'other' },
  ])
  // +2 and −10 points.
  assert.match(page, /\*\*8 rows a label, mean of 2 tasks\*\* \| +\| +\| +\| +\| \*\*−4\.0\*\*/)
  assert.match(page, /\| 200 rows, trec \| 1 \| 0\.700 .* \| \+10\.0 \| 1 of 1 \|/)
  assert.match(page, /## tiny\n[\s\S]*## other\n[\s\S]*\| 8 rows a label, trec \| 1 \| 0\.900 /)
})
