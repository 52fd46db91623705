// Trains a task on a few dozen examples with the bundled model, from data file to task file.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { defaultColumns } from '../../src/data/columns.js'
import { Engine } from '../../src/engine/engine.js'
import { loadModel } from '../../src/learn/model.js'
import { type NewTaskOptions, trainNewTask } from '../../src/learn/new-task.js'
import type { Progress } from '../../src/learn/run-progress.js'
import { noMask } from '../../src/learn/starting-masks.js'
import type { StartProgress } from '../../src/learn/starting-point.js'
import { loadTrainingData, type TrainingData } from '../../src/learn/training-data.js'
import { checkTaskFits, modelOf } from '../../src/petl/combining.js'
import { readTaskFile, type TaskFile } from '../../src/petl/task-file.js'
import { logitsOf } from '../../src/tasks/heads.js'
import { headOf, loadPrototype, modelDir } from '../material.js'
import { engineRows, smallRun } from './material.js'

const folder = await mkdtemp(join(tmpdir(), 'propetl-learn-'))
after(() => rm(folder, { recursive: true }))

const model = await loadModel(modelDir, 64)
const prototype = loadPrototype()

const animals = ['dog', 'cat', 'horse', 'lion', 'wolf', 'sheep', 'bear', 'fox']
const tools = ['hammer', 'saw', 'drill', 'wrench', 'chisel', 'screwdriver', 'axe', 'pliers']
const examples = ['the', 'my old', 'one'].flatMap((start) => [
  ...animals.map((word) => ({ text: `${start} ${word} was here`, label: 'animal' })),
  ...tools.map((word) => ({ text: `${start} ${word} was here all day long`, label: 'tool' })),
])
const path = join(folder, 'things.jsonl')
await writeFile(path, examples.map((example) => JSON.stringify(example)).join('\n'))

// Every third label is the same, so that no head is perfect.
const noisy = examples.map(({ text, label }, i) => ({ text, label: i % 3 > 0 ? label : 'tool' }))
const noisyPath = join(folder, 'noisy.jsonl')
await writeFile(noisyPath, noisy.map((example) => JSON.stringify(example)).join('\n'))

// Every text has the label "old" or "new" too.
const severalPath = join(folder, 'several.jsonl')
const several = examples.map(({ text, label }, i) => ({ text, label: [label, i % 2 ? 'old' : 'new'] }))
await writeFile(severalPath, several.map((example) => JSON.stringify(example)).join('\n'))

const options: NewTaskOptions = { ...smallRun, rates: { scores: 0.05, heads: 0.005 }, baseline: false }
const load = (data = path) =>
  loadTrainingData(model, { data, devShare: 0.25, columns: defaultColumns, seed: 3 }, (warning) => {
    assert.fail(warning)
  })
const learn = async (
  changes: Partial<NewTaskOptions> = {},
  signal = new AbortController().signal,
  data?: TrainingData,
  onStart = () => {},
) =>
  trainNewTask(
    model,
    prototype,
    data ?? (await load()),
    { ...options, ...changes },
    { onProgress: () => {}, onStart, signal },
  )

test('learns two simple classes, and the same seed gives the same file', async () => {
  const [first, second] = [await learn(), await learn()]
  assert.ok(first.result.score > 0.9)
  assert.deepEqual(first.file, second.file)
  const task = readTaskFile(first.file)
  checkTaskFits(task, modelOf(prototype))
  assert.deepEqual(task.labels, ['animal', 'tool'])
  // A task file has a mask only if that is better than a head alone.
  assert.equal(task.mask?.layers, first.result.start === noMask ? undefined : prototype.layers)
  assert.equal(first.result.folds, 5)
  assert.equal(first.result.heldOut, examples.length)
})

for (const changes of [
  { maskRows: 'layer', combine: 'none' },
  { maskRows: 'one', combine: 'or' },
] as const)
  test(`the served score is the dev score of training: masks ${changes.maskRows}, combine ${changes.combine}`, async () => {
    // The dev part is a set of its own here, as from a dev file: nothing is cross-validated.
    const [data, own] = [await load(), await load()]
    const { file, result } = await learn({ ...changes, epochs: 2 }, undefined, { ...data, dev: own.dev })
    const task = readTaskFile(file)
    const engine = await Engine.start({
      backbone: model.backbone,
      prototype,
      provider: 'cpu',
      numerics: 'float32',
      slots: 1,
      threads: 1,
    })
    const dev = engineRows(task, prototype, data.dev)
    const served = await engine.run(dev)
    await engine.close()
    const correct = served.rows.filter(({ pooled }, at) => {
      const [animal = 0, tool = 0] = logitsOf(headOf(task), pooled)
      return (tool > animal ? 1 : 0) === data.dev.set.targets[data.dev.examples[at] ?? 0]
    })
    assert.equal(correct.length / dev.length, result.score)
  })

test('cross-validation stops once the loss of all held-out examples has not become lower for three epochs', async () => {
  const shown: Progress[] = []
  const { signal } = new AbortController()
  const { result } = await trainNewTask(
    model,
    prototype,
    await load(noisyPath),
    { ...options, epochs: 20, rates: { scores: 0.5, heads: 0.5 } },
    { onProgress: (progress) => shown.push(progress), signal },
  )
  const { losses = [], bestEpoch, epochs } = result
  assert.equal(bestEpoch, losses.indexOf(Math.min(...losses)))
  assert.equal(epochs, bestEpoch + 3)
  // A fold has 38 or 39 of the 48 examples: 3 batches of 16. So has the run on all of them.
  assert.equal(result.steps, 5 * 3 * epochs + 3 * bestEpoch)
  assert.equal(shown[0]?.steps, 20 * (5 * 3 + 3))
  assert.equal(shown.length, result.steps)
})

test('a time budget that allows no epoch keeps the starting point', async () => {
  const { result } = await learn({ timeBudget: 1 }, undefined, await load(noisyPath))
  assert.deepEqual([result.bestEpoch, result.epochs, result.steps, result.stopped], [0, 0, 0, false])
  assert.ok(result.score > 0.6)
})

test('a time budget of months is no limit', async () => {
  const data = await load(noisyPath)
  for (const timeBudget of [3e9, 1e13]) {
    const { result } = await learn({ timeBudget, epochs: 1 }, undefined, data)
    assert.equal(result.epochs, 1)
  }
})

test('reports the score of a head without a mask', async () => {
  const { headOnly } = await learn({ baseline: true, epochs: 1 })
  assert.ok(headOnly !== undefined && headOnly > 0.8)
})

test('a run that is stopped before a head is ready makes no file', async () => {
  const stop = new AbortController()
  stop.abort()
  await assert.rejects(learn({}, stop.signal), { name: 'AbortError' })
})

test('a run that is stopped later keeps the head that is ready', async () => {
  const stop = new AbortController()
  const { file, result } = await learn({}, stop.signal, undefined, () => stop.abort())
  assert.ok(result.stopped)
  assert.equal(result.bestEpoch, 0)
  assert.ok(result.score > 0.8)
  checkTaskFits(readTaskFile(file), modelOf(prototype))
})

test('reports the head without a mask first, and keeps it if there is no time for more', async () => {
  const reported: string[] = []
  const { result } = await trainNewTask(
    model,
    prototype,
    await load(),
    { ...options, timeBudget: 0 },
    {
      onBaseline: (start) => reported.push(`baseline: ${start}`),
      onStart: (start) => reported.push(`start: ${start}`),
      onProgress: () => assert.fail('there is no time to train'),
      signal: new AbortController().signal,
    },
  )
  assert.deepEqual(reported, [`baseline: ${noMask}`, `start: ${noMask}`])
  assert.equal(result.start, noMask)
  assert.equal(result.stopped, false)
  assert.ok(result.score > 0.8)
})

test('a multi-label run that is stopped while names of labels are tried keeps the head that is ready', async () => {
  const data = await load(severalPath)
  const { names } = data
  assert.ok(names)
  const stop = new AbortController()
  const stopping = {
    set: names.set,
    get examples() {
      stop.abort()
      return names.examples
    },
  }
  const { result } = await learn({}, stop.signal, { ...data, names: stopping })
  assert.deepEqual([result.start, result.stopped], [noMask, true])
  assert.ok(result.score > 0.3)
})

test('a multi-label run computes the examples without a mask once', async () => {
  const shown: StartProgress[] = []
  await trainNewTask(
    model,
    undefined,
    await load(severalPath),
    { ...options, epochs: 1 },
    {
      onProgress: () => {},
      onStartProgress: (progress) => shown.push(progress),
      signal: new AbortController().signal,
    },
  )
  assert.equal(shown.filter(({ done, all }) => done === all).length, 1)
})

test('a resumed run starts with the score of the task file and never ends with a lower one', async () => {
  const first = await learn()
  const task = readTaskFile(first.file)
  const stop = new AbortController()
  stop.abort()
  const same = await learn({ resume: task, seed: 8 }, stop.signal)
  assert.deepEqual(readTaskFile(same.file).mask, task.mask)
  assert.deepEqual(readTaskFile(same.file).head, task.head)
  const further = await learn({ resume: task, seed: 8, epochs: 1 })
  assert.ok(further.result.score >= same.result.score)
})

test('resumes only a task of the same kind and prototype', async () => {
  // A dense head is always trained with a mask.
  const task = readTaskFile((await learn({ head: 'dense', epochs: 1 })).file)
  const rejects = (changes: Partial<TaskFile>, message: RegExp) =>
    assert.rejects(learn({ head: 'dense', resume: { ...task, ...changes } as TaskFile }), message)
  await rejects({ prototype: '0'.repeat(64) }, /trained on prototype 0000/)
  await rejects(
    { labels: ['animal', 'plant'] },
    /label list .* is \["animal","plant"\]; this run has \["animal","tool"\]/,
  )
  await rejects({ pooling: 'cls' }, /pooling .* is "cls"; this run has "mean"/)
  await assert.rejects(
    learn({ head: 'dense', resume: task, maskRows: 'one' }),
    /number of mask rows .* is 6; this run has 1/,
  )
})

test('combining needs one mask for all layers', () =>
  assert.rejects(learn({ combine: 'or' }), /--combine or needs one mask for all layers; add --mask-rows one/))
