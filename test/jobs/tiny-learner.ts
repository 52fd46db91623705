// A learner that trains nothing. The seed of its request says how it ends, and the time budget is its score in percent.

import { existsSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { LearnerMessage, LearnerRequest } from '../../src/learner/messages.js'
import { taskFileNames } from '../../src/learner/messages.js'
import { shiftedTask, taskBytes } from '../material.js'
import { seeds } from './seeds.js'

// It ends when the server does, like a real one.
new Worker(new URL('../../src/learner/lifeline.js', import.meta.url)).unref()

const request = JSON.parse(readFileSync(0, 'utf8')) as LearnerRequest
const { seed, timeBudgetS = 0 } = request.options
const lines = readFileSync(request.data, 'utf8').trimEnd().split('\n')

const send = (message: LearnerMessage) => writeSync(3, `${JSON.stringify(message)}\n`)
const write = (name: string, shift: number) =>
  writeFileSync(join(request.out, name), shiftedTask(taskBytes('sst2'), shift))
/** For a test that kills this process. */
writeFileSync(join(dirname(request.out), 'pid'), String(process.pid))

if (seed === seeds.crash) process.exit(1)
if (seed === seeds.fail) {
  send({ kind: 'failed', code: 'invalid_data', message: 'examples.jsonl has only one label' })
  process.exit(0)
}
const scores = { metric: 'accuracy', score: timeBudgetS / 100 }
const labels = { labels: ['negative', 'positive'], labelCount: 2 }
const counts = { examples: lines.length, heldOut: 1, folds: 1, warnings: ['one text occurs twice'] }
send({ kind: 'data', problemType: 'single_label_classification', ...labels, ...counts })
if (seed === seeds.hangBeforeHead) setInterval(() => {}, 1_000)
else {
  write(taskFileNames.head, lines.length)
  send({ kind: 'head', ...scores, score: scores.score - 0.1, heldOut: 1 })
  send({ kind: 'phase', phase: 'training' })
  send({
    kind: 'progress',
    phase: 'training',
    done: 0.5,
    secondsLeft: 1,
    step: 1,
    loss: 0.7,
    epoch: 1,
    heldOutLoss: 0.6,
  })
  if (seed === seeds.hang)
    setInterval(() => {
      if (existsSync(join(dirname(request.out), 'go'))) {
        finish()
        process.exit(0)
      }
    }, 10)
  else finish()
}

function finish(): void {
  const isHead = seed === seeds.headOnly
  write(taskFileNames.done, isHead ? lines.length : lines.length + 1_000)
  const wrong = [{ line: 1, predicted: 'positive', score: 0.9 }]
  send({
    kind: 'done',
    isHead,
    ...scores,
    higherIsBetter: true,
    scores: [{ metric: 'accuracy', value: scores.score }],
    report: {
      problem_type: 'single_label_classification',
      metric: 'accuracy',
      examples: lines.length,
      held_out: 1,
      folds: 1,
      confusions: [],
      curve: [{ step: 1, loss: 0.7 }],
      epochs: [{ epoch: 1, held_out_loss: 0.6 }],
      warnings: [],
      seconds: 0.1,
    },
    ...(request.active && { activeScore: { score: 0.8, newScore: scores.score, examples: 1, measured: 'unseen' } }),
    wrong,
  })
}
