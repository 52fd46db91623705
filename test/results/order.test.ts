// The order and identity of planned runs, and the estimate of their time.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type ComparedMethod, comparedMethods, settingsOf } from '../../bench/results/compared-methods.js'
import { estimateSeconds, planRuns } from '../../bench/results/order.js'
import { keyOf, versionOf } from '../../bench/results/run.js'
import { inventedRun } from './material.js'

const choices = { backbone: 'b', prototype: 'p', learnedOn: [], maxRows: 3000, combine: 'none' } as const
const settings = (method: ComparedMethod) => settingsOf(method, choices)

test('plans all runs of one seed before the next seed, and task by task within a seed', () => {
  const runs = planRuns(['a', 'b'], ['multi', 'head', 'plain'], [1, 2], settings)
  assert.deepEqual(
    runs.map(({ method, tasks, seed }) => `${seed} ${method} ${tasks.join('+')}`),
    [
      ...['1 head a', '1 plain a', '1 head b', '1 plain b', '1 multi a+b'],
      ...['2 head a', '2 plain a', '2 head b', '2 plain b', '2 multi a+b'],
    ],
  )
})

test('a run is identified by its method, tasks, seed and settings', () => {
  const planned = planRuns(['a', 'b'], comparedMethods, [1, 2], settings)
  assert.equal(new Set(planned.map(keyOf)).size, 2 * (9 * 2 + 1))
  const [run] = planned
  assert.ok(run)
  const finished = inventedRun(run.method, run.seed, { a: 0.5 }, { version: versionOf(run.settings) })
  assert.equal(keyOf(finished), keyOf(run))
  const fewerRows = settingsOf(run.method, { ...choices, maxRows: 100 })
  assert.notEqual(keyOf({ ...run, settings: fewerRows }), keyOf(run))
})

test('another prototype changes only the runs that train masks', () => {
  const changed = comparedMethods.filter(
    (method) => versionOf(settingsOf(method, { ...choices, prototype: 'q' })) !== versionOf(settings(method)),
  )
  assert.deepEqual(changed, ['mask-one', 'mask-layer'])
})

test('estimates the time from runs of the same method, or of all methods if it has none', () => {
  const remaining = planRuns(['a', 'b'], ['head', 'multi'], [1], settings)
  assert.equal(estimateSeconds(remaining, []), undefined)
  assert.equal(estimateSeconds([], []), 0)
  const head = [inventedRun('head', 9, { a: 1 }, { seconds: 4 }), inventedRun('head', 9, { b: 1 }, { seconds: 8 })]
  assert.equal(estimateSeconds(remaining, head), 2 * 6 + 2 * 6)
  const multi = inventedRun('multi', 9, { a: 1, b: 1, c: 1 }, { seconds: 90 })
  assert.equal(estimateSeconds(remaining, [...head, multi]), 2 * 6 + 2 * 30)
})
