// Learners train tasks of several problem types on a few dozen examples with the bundled model, each in a child process.

import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { evaluate } from '../../src/commands/evaluate.js'
import { learnerProgram, startLearner } from '../../src/learner/learner.js'
import type { LearnerDone, LearnerEvent, LearnerRequest } from '../../src/learner/messages.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { prototypeFile } from '../material.js'
import { exampleRows, requestFor, toLines } from './material.js'

const never = new AbortController().signal
/** Other tests that run at the same time would leave little to a learner. */
const usualPriority = { ...learnerProgram, priority: 0 }
const tickets = exampleRows('tickets.csv')

async function learn(request: LearnerRequest): Promise<{ done: LearnerDone; events: LearnerEvent[] }> {
  const events: LearnerEvent[] = []
  const result = await startLearner(request, (event) => events.push(event), never, usualPriority)
  if (result.kind !== 'done') assert.fail(JSON.stringify(result))
  return { done: result, events }
}

const sum = (numbers: readonly number[]) => numbers.reduce((all, number) => all + number, 0)

const cases = {
  single_label_classification: { rows: tickets.slice(0, 40), metric: 'accuracy', timeBudgetS: undefined },
  multi_label_classification: {
    rows: exampleRows('reviews.csv')
      .slice(0, 60)
      .map(({ text, label }) => ({ text, label: label === '' ? [] : label.split(',') })),
    metric: 'macro_f1',
    timeBudgetS: 5,
  },
  regression: {
    rows: tickets.slice(0, 60).map(({ text }) => ({ text, label: text.length / 10 })),
    metric: 'r2',
    timeBudgetS: 5,
  },
  token_classification: {
    rows: exampleRows('entities.csv')
      .slice(0, 40)
      .map(({ text, label }) => ({ text: text.split(' '), label: label.split(' ') })),
    metric: 'span_f1',
    timeBudgetS: 5,
  },
} as const

for (const [problemType, { rows, metric, timeBudgetS }] of Object.entries(cases))
  test(`reports the head alone, the progress and the result of a ${problemType}`, async () => {
    const request = await requestFor(toLines(rows), { timeBudgetS })
    const { done, events } = await learn(request)

    const data = events.find(({ kind }) => kind === 'data')
    assert.ok(data?.kind === 'data')
    assert.deepEqual(
      [data.problemType, data.examples, data.heldOut, data.folds > 1],
      [problemType, rows.length, rows.length, true],
    )
    const head = events.find(({ kind }) => kind === 'head')
    assert.ok(head?.kind === 'head')
    for (const [file, score] of [
      [head.file, head.score],
      [done.file, done.score],
    ] as const) {
      const task = readTaskFile(await readFile(file))
      const { cross_validation } = task.metrics as { cross_validation: Record<string, number> }
      assert.equal(task.problemType, problemType)
      assert.equal(cross_validation[metric]?.toFixed(4), score.toFixed(4))
    }
    assert.equal(readTaskFile(await readFile(head.file)).mask, undefined)
    assert.equal(readTaskFile(await readFile(done.file)).mask === undefined, done.isHead)

    const shares = events.flatMap((event) => (event.kind === 'progress' ? [event.done] : []))
    assert.deepEqual(
      shares,
      shares.toSorted((a, b) => a - b),
    )
    const phases = events.flatMap((event) => (event.kind === 'phase' ? [event.phase] : []))
    assert.deepEqual(phases, ['reading', 'head', 'comparing', 'training', 'evaluating'])

    assert.equal(done.metric, metric)
    assert.equal(done.scores[0]?.value, done.score)
    const { report, wrong } = done
    assert.deepEqual([report.problem_type, report.examples, report.held_out], [problemType, rows.length, rows.length])
    assert.equal(report.head_only, head.score)
    for (const { line, predicted } of wrong)
      assert.notDeepEqual(predicted, rows[line - 1]?.label, `line ${line} is predicted rightly`)
    if (timeBudgetS === undefined) {
      assert.ok(report.curve.length > 0 && report.epochs.length > 1)
      const counts = report.matrix?.counts ?? []
      assert.equal(sum(counts.flat()), rows.length)
      assert.equal(sum(counts.map((row, at) => row[at] ?? 0)), rows.length - wrong.length)
      assert.equal(done.score, (rows.length - wrong.length) / rows.length)
      assert.deepEqual(
        wrong.map(({ score }) => score),
        wrong.map(({ score }) => score).toSorted((a, b) => b - a),
      )
    }
  })

test('scores the active task on the new examples as evaluate does, and otherwise as its file says', async () => {
  const first = await requestFor(toLines(tickets.slice(0, 60)), { timeBudgetS: 1 })
  const { done: active } = await learn(first)
  const added = toLines(tickets.slice(60, 110))
  const request = await requestFor([...toLines(tickets.slice(0, 60)), ...added], { timeBudgetS: 1 })
  const newLines = join(request.out, 'new-lines')
  await writeFile(newLines, added.map((_, at) => `${61 + at}\n`).join(''))
  const { done } = await learn({ ...request, active: active.file, newLines })

  const onlyNew = join(request.out, 'added.jsonl')
  await writeFile(onlyNew, added.join('\n'))
  const { accuracy } = await evaluated(active.file, onlyNew, request)
  const wrongOfNew = done.wrong.filter(({ line }) => line > 60).length
  assert.deepEqual(done.activeScore, {
    score: accuracy,
    newScore: (50 - wrongOfNew) / 50,
    examples: 50,
    measured: 'unseen',
  })

  await writeFile(newLines, '61\n62\n')
  const { done: other } = await learn({ ...request, active: active.file, newLines })
  const { score, newScore, measured } = other.activeScore ?? {}
  assert.deepEqual([score?.toFixed(4), newScore, measured], [active.score.toFixed(4), other.score, 'recorded'])
})

async function evaluated(task: string, path: string, { directory }: LearnerRequest): Promise<{ accuracy: number }> {
  const report = await evaluate(task, path, {
    ...{ modelDir: directory, prototype: prototypeFile, textColumn: 'text', labelColumn: 'label' },
    ...{ threads: 1, numerics: 'float32', seed: 1, json: true },
  })
  const { score } = JSON.parse(report) as { score: number }
  return { accuracy: score }
}

test('fails with an error that names the line of the data, without its folder', async () => {
  const request = await requestFor([...toLines(tickets.slice(0, 20)), '{"text": "broken"'])
  const result = await startLearner(request, () => {}, never, usualPriority)
  assert.ok(result.kind === 'failed')
  assert.equal(result.code, 'invalid_data')
  assert.match(result.message, /^examples\.jsonl:21/)
})
