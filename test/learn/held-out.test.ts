// A resumed run is scored on examples that no run before it was trained on.

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { defaultColumns } from '../../src/data/columns.js'
import { encodedExamples, type Subset } from '../../src/learn/example-set.js'
import { loadModel } from '../../src/learn/model.js'
import { loadTrainingData, type TrainingDataOptions } from '../../src/learn/training-data.js'
import { readTaskFile, serializeTaskFile, type TaskFile } from '../../src/petl/task-file.js'
import type { Problem } from '../../src/problem.js'
import { modelDir, taskBytes, temporaryDirectory } from '../material.js'

const folder = await temporaryDirectory()
const model = await loadModel(modelDir, 32)
const reference = readTaskFile(taskBytes('sst2'))

const rows = (first: number, count: number) =>
  Array.from({ length: count }, (_, i) => ({ text: `item ${first + i}`, label: i % 3 ? 'a' : 'b' }))

async function load(
  examples: readonly object[],
  options: Partial<TrainingDataOptions> = {},
  onWarning: (warning: string) => void = assert.fail,
) {
  const data = join(folder, 'data.jsonl')
  await writeFile(data, examples.map((example) => JSON.stringify(example)).join('\n'))
  return loadTrainingData(model, { data, devShare: 0.1, columns: defaultColumns, seed: 1, ...options }, onWarning)
}

const idsOf = (subset: Subset) =>
  encodedExamples(subset).map(({ texts }) => texts.map(({ inputIds }) => inputIds.join(' ')).join())

/** A task that was trained on data, read back from its file. */
const trainedOn = ({ heldOut }: { heldOut: Uint8Array }): TaskFile =>
  readTaskFile(serializeTaskFile({ ...reference, maxLength: 32, heldOut }))

test('the dev part of a resumed run has only held-out examples, for any seed, order and added examples', async () => {
  const old = rows(0, 90)
  const first = await load(old)
  const trained = new Set(idsOf(first.train))
  assert.equal(idsOf(first.dev).length, 9)
  const grown = [...rows(500, 30), ...old.toReversed()]
  const resumed = await load(grown, { seed: 2, devShare: 0.5, resume: trainedOn(first) })
  assert.deepEqual(idsOf(resumed.dev).sort(), idsOf(first.dev).sort())
  assert.ok(idsOf(resumed.dev).every((ids) => !trained.has(ids)))
  assert.equal(resumed.train.examples.length, 30 + 81)
  assert.deepEqual(resumed.heldOut, first.heldOut)
})

test('an example that is also in the training part is not recorded as held out', async () => {
  const warnings: string[] = []
  const twice = [...rows(0, 30), ...rows(0, 30)]
  const data = await load(twice, { devShare: 0.5 }, (warning) => void warnings.push(warning))
  const trained = new Set(idsOf(data.train))
  const unseen = new Set(idsOf(data.dev).filter((ids) => !trained.has(ids)))
  assert.match(warnings[0] ?? '', /are also in the dev part/)
  assert.equal(data.heldOut.byteLength, 8 * unseen.size)
})

test('a task that was trained on all examples is resumed only with new dev examples', async () => {
  const task = trainedOn({ heldOut: new Uint8Array() })
  await assert.rejects(load(rows(0, 60), { resume: task }), (error: Problem) => {
    assert.equal(error.code, 'invalid_setting')
    assert.match(error.message, /give examples that it has not seen with --dev$/)
    return true
  })
  const dev = join(folder, 'dev.jsonl')
  const labelled = rows(900, 6).map((row) => JSON.stringify(row))
  await writeFile(dev, labelled.join('\n'))
  const warnings: string[] = []
  const data = await load(rows(0, 60), { resume: task, dev }, (warning) => void warnings.push(warning))
  assert.deepEqual([data.train.examples.length, data.dev.examples.length], [60, 6])
  assert.match(warnings[0] ?? '', /if it was trained on these examples, the dev score is too high/)
})

test('a task file without a record is resumed as before, with a warning', async () => {
  const warnings: string[] = []
  const data = await load(rows(0, 60), { resume: reference }, (warning) => void warnings.push(warning))
  assert.deepEqual([data.train.examples.length, data.dev.examples.length], [54, 6])
  assert.match(warnings[0] ?? '', /does not record which examples it was trained on/)
})

test('a run with another length or prefix than the task to resume is an error', async () => {
  const task = { ...trainedOn({ heldOut: new Uint8Array() }), maxLength: 64 }
  await assert.rejects(load(rows(0, 60), { resume: task }), /maximum length \(--max-length\) .* is 64; this run has 32/)
  const prefixed = { ...task, maxLength: 32, textPrefix: 'query: ' }
  await assert.rejects(
    load(rows(0, 60), { resume: prefixed }),
    /text prefix \(--text-prefix\) .*"query: "; .* has none/,
  )
})
