// The bounds of what a learner reports: the server accepts each message, whatever the labels and however long the training.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { findConfusions } from '../../src/learn/confusions.js'
import type { NewTask } from '../../src/learn/new-task.js'
import { type LearnerMessage, readMessage, reportLimits } from '../../src/learner/messages.js'
import { ProgressReports } from '../../src/learner/progress-reports.js'
import { learnReport } from '../../src/learner/report.js'
import { wrongPredictions } from '../../src/learner/wrong-predictions.js'

const labelCount = 500
const exampleCount = 3_000

/** A task of many labels, with names that JSON makes six times as long, which predicts all examples wrongly. */
function hugeTask(): NewTask {
  const labels = Array.from({ length: labelCount }, (_, at) => `${at}${'\u0001'.repeat(900)}`)
  const space = { problem: 'single_label_classification', labels } as const
  const actual = Float32Array.from({ length: exampleCount }, (_, at) => at % labelCount)
  const evaluation = {
    outputs: Float32Array.from({ length: exampleCount * labelCount }, (_, at) => Math.sin(at)),
    predictions: actual.map((label, at) => (label + 1 + (at % 7)) % labelCount),
    actual,
    starts: Int32Array.from({ length: exampleCount + 1 }, (_, at) => at),
  }
  const tokens = { texts: exampleCount } as NewTask['judged']['heldOut']['set']['tokens']
  return {
    file: new Uint8Array(),
    result: {
      ...{ score: Number.NaN, folds: 1, heldOut: exampleCount, bestEpoch: 1, epochs: 2_000, steps: 0, stopped: false },
      losses: Array.from({ length: 2_000 }, (_, at) => (at === 0 ? Number.NaN : 1 / at)),
    },
    metric: 'accuracy',
    scores: [],
    confusions: findConfusions(space, evaluation),
    judged: {
      ...{ space, evaluation },
      heldOut: {
        set: { tokens, textsPerExample: 1, targets: actual, width: 1 },
        examples: Int32Array.from({ length: exampleCount }, (_, at) => at),
      },
    },
  }
}

test('a message about many labels with long names stays within its bounds', () => {
  const task = hugeTask()
  const lines = Array.from({ length: exampleCount }, (_, at) => at + 1)
  const report = learnReport(task, {
    ...{ examples: exampleCount, curve: [], seconds: 1 },
    warnings: Array.from({ length: reportLimits.warnings }, () => '\u0001'.repeat(reportLimits.warningLength)),
  })
  const wrong = wrongPredictions(task, lines)
  assert.ok(Buffer.byteLength(JSON.stringify(report)) <= reportLimits.bytes)
  assert.ok(Buffer.byteLength(JSON.stringify(wrong)) <= 512 * 1024)
  assert.ok(wrong.length > 100 && report.confusions.length > 0)
  const done: LearnerMessage = {
    ...{ kind: 'done', isHead: false, metric: 'accuracy', higherIsBetter: true, score: 0, scores: [] },
    ...{ report, wrong },
  }
  assert.deepEqual(readMessage(JSON.stringify(done)), done)
})

test('a long training is reported by few messages and at most 500 points of its curve', () => {
  const sent: LearnerMessage[] = []
  const reports = new ProgressReports((message) => sent.push(message))
  reports.enter('training')
  const steps = 20_000
  for (let step = 1; step <= steps; step++)
    reports.training({ step, steps, loss: 1 / step, best: undefined, comparedBy: 'dev score', millisecondsLeft: 5 })
  assert.ok(sent.length < 100)
  for (const message of sent) assert.ok(readMessage(JSON.stringify(message)))
  const { curve } = reports
  assert.ok(curve.length > reportLimits.curve / 3 && curve.length <= reportLimits.curve)
  assert.ok(curve.every(({ step, loss }) => loss === 1 / step))
  assert.ok((curve.at(-1)?.step ?? 0) > 0.99 * steps)
})
