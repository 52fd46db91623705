// The progress of training: the smoothed loss, and losses that do not come down again.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Progress, RunProgress } from '../../src/learn/run-progress.js'

test('progress has the smoothed loss and the best value', () => {
  const shown: Progress[] = []
  const progress = new RunProgress(4, 'held-out loss', (one) => shown.push(one))
  progress.stepped(2)
  progress.best = 0.5
  progress.stepped(1)
  assert.deepEqual(
    shown.map(({ step, steps, loss, best }) => [step, steps, loss, best]),
    [
      [1, 4, 2, undefined],
      [2, 4, 0.95 * 2 + 0.05 * 1, 0.5],
    ],
  )
})

test('a loss that grows a hundredfold is an error, and one that rises from nearly nothing is not', () => {
  const losses = (...all: number[]) => {
    const progress = new RunProgress(1000, 'dev score', () => {})
    for (const loss of all) progress.stepped(loss)
  }
  assert.throws(() => losses(0.7, 0.7, 725_002), { code: 'learning_diverged', message: /^the loss is 3625\d\./ })
  assert.throws(() => losses(3, ...Array.from({ length: 100 }, () => 400)), { code: 'learning_diverged' })
  losses(0.001, ...Array.from({ length: 100 }, () => 0.5))
  losses(3, 400, ...Array.from({ length: 100 }, () => 3))
})
