// The methods of the paper on a few dozen rows: what each gives, and that what it writes can be served and built on.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Engine } from '../../src/engine/engine.js'
import { defaultColumns } from '../../src/learn/examples.js'
import { type Metric, pearson } from '../../src/learn/metrics.js'
import { loadModel } from '../../src/learn/model.js'
import { type NamedTrainingData, type PrototypeOptions, trainPrototype } from '../../src/learn/prototype-training.js'
import type { Progress } from '../../src/learn/training.js'
import { loadTrainingData } from '../../src/learn/training-data.js'
import type { TrainingMethod } from '../../src/learn/training-methods.js'
import { checkTaskFitsPrototype } from '../../src/petl/combining.js'
import { readPrototype } from '../../src/petl/prototype-file.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { logitsOf } from '../../src/tasks/heads.js'
import { headOf, modelDir } from '../material.js'
import { requestsTo } from './material.js'

const folder = await mkdtemp(join(tmpdir(), 'propetl-train-'))
after(() => rm(folder, { recursive: true }))
const model = await loadModel(modelDir, 64)

const numbers = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight']
const nouns = ['dog', 'cat', 'hammer', 'saw']
const rows = numbers.flatMap((number, n) => nouns.map((noun, i) => ({ text: `${number} ${noun}`, n, tool: i > 1 })))

async function taskOf(
  id: string,
  metric: Metric,
  label: (row: (typeof rows)[number]) => unknown,
): Promise<NamedTrainingData> {
  const path = join(folder, `${id}.jsonl`)
  await writeFile(path, rows.map((row) => JSON.stringify({ text: row.text, label: label(row) })).join('\n'))
  const options = { data: path, metric, devShare: 0.25, columns: defaultColumns, seed: 1 }
  return { id, ...(await loadTrainingData(model, options, (warning) => assert.fail(warning))) }
}
const kind = await taskOf('kind', 'accuracy', ({ tool }) => (tool ? 'tool' : 'animal'))
const count = await taskOf('count', 'pearson', ({ n }) => n + 0.5)

const options: PrototypeOptions = {
  method: 'multi',
  combine: 'or',
  module: { kind: 'adapter', bottleneck: 4, activation: 'relu', scaling: 1 },
  density: 0.5,
  rates: { weights: 3e-3, scores: 1e-2, heads: 1e-2 },
  weightDecay: 0.1,
  pooling: 'mean',
  head: 'linear',
  epochs: 2,
  batchRows: 8,
  seed: 5,
  threads: 1,
}
const unstopped = new AbortController().signal
const trained = (tasks: readonly NamedTrainingData[], changes: Partial<PrototypeOptions>) =>
  trainPrototype(model.backbone, tasks, { ...options, ...changes }, { onProgress: () => {}, signal: unstopped })

const H = 384
const layers = 6
const maskable = 2 * 4 * H
const weights = maskable + 4 + H

const lora = { kind: 'lora', rank: 4, alpha: 6 } as const
const prefix = { kind: 'prefix', length: 4 } as const
const kinds = [
  { module: options.module, combine: 'or', maskable, weights },
  { module: options.module, combine: 'and', maskable, weights },
  { module: options.module, combine: 'add', maskable, weights },
  { module: lora, combine: 'or', maskable: 4 * 4 * H, weights: 4 * 4 * H },
  { module: prefix, combine: 'add', maskable: 4 * 2 * H, weights: 4 * 2 * H },
] as const

for (const { module, combine, maskable, weights } of kinds)
  test(`several tasks on one ${module.kind}, masks combined by ${combine}: served as they were learned`, async () => {
    const { prototype: file, tasks, storage, result } = await trained([kind, count], { module, combine })
    assert.deepEqual(storage, { shared: 32 * weights + layers * maskable, each: maskable })
    assert.equal(result.epochs.length, 2)
    const prototype = readPrototype(file ?? assert.fail('no prototype'))
    const engine = await Engine.start({
      backbone: model.backbone,
      prototype,
      provider: 'cpu',
      numerics: 'float32',
      slots: 2,
      threads: 1,
    })
    for (const [at, data] of [kind, count].entries()) {
      const task = readTaskFile(tasks[at]?.file ?? assert.fail('no task file'))
      checkTaskFitsPrototype(task, prototype)
      assert.equal(task.combine, combine)
      const dev = requestsTo(task, prototype, data.dev)
      const served = (await engine.run(dev)).rows.map(({ pooled }) => logitsOf(headOf(task), pooled))
      const targets = Array.from(data.dev.examples, (row) => data.dev.set.targets[row] ?? Number.NaN)
      const score =
        data.metric === 'accuracy'
          ? served.filter(([a = 0, b = 0], row) => (b > a ? 1 : 0) === targets[row]).length / targets.length
          : pearson(
              served.map(([value = 0]) => value),
              targets,
            )
      const told = tasks[at]?.score ?? Number.NaN
      assert.ok(Math.abs(score - told) < 1e-4, `${data.id}: ${score} served, ${told} told`)
    }
    await engine.close()
  })

test('each task goes on alone on what all share, which stays as it is, and keeps what is better', async () => {
  // So slowly that a single epoch leaves something to learn.
  const slow = { ...options, epochs: 1, rates: { weights: 3e-3, scores: 1e-2, heads: 1e-4 } }
  const together = await trained([kind, count], slow)
  const seen: [step: number, steps: number][] = []
  const onProgress = ({ step, steps }: Progress) => seen.push([step, steps])
  const alone = await trainPrototype(
    model.backbone,
    [kind, count],
    { ...slow, finishEpochs: 8 },
    { onProgress, signal: unstopped },
  )
  assert.deepEqual(alone.prototype, together.prototype)
  assert.deepEqual(alone.storage, together.storage)
  // 24 rows of each task are 3 batches: an epoch of both together, and 8 of each alone.
  assert.deepEqual(seen.at(5), [6, 6])
  assert.deepEqual([seen.length, seen.at(-1)], [6 + 48, [48, 48]])
  const better = alone.tasks.map(({ score }, at) => score - (together.tasks[at]?.score ?? Number.NaN))
  assert.ok(Math.min(...better) >= 0 && Math.max(...better) > 0, `${better}`)
  const files = (tasks: typeof alone.tasks) => tasks.map(({ file }) => readTaskFile(file ?? assert.fail('no file')))
  for (const [at, task] of files(alone.tasks).entries()) {
    const before = files(together.tasks)[at] ?? assert.fail()
    assert.equal(task.prototype, before.prototype)
    if ((better[at] ?? 0) > 0) assert.notDeepEqual(task.mask.bits, before.mask.bits)
  }
  const mean = alone.tasks.reduce((sum, { score }) => sum + score / 2, 0)
  assert.ok(Math.abs(alone.result.score - mean) < 1e-12)
})

test('one task under a mask a layer: the task file holds the layers’ own masks', async () => {
  const { prototype: file, tasks, storage } = await trained([kind], { method: 'single' })
  const prototype = readPrototype(file ?? assert.fail('no prototype'))
  const task = readTaskFile(tasks[0]?.file ?? assert.fail('no task file'))
  checkTaskFitsPrototype(task, prototype)
  assert.equal(task.combine, 'none')
  assert.deepEqual(task.mask.bits, prototype.layerMasks)
  assert.deepEqual(storage, { shared: 32 * weights + layers * maskable, each: 0 })
})

for (const [method, bits] of [
  ['plain', 32 * layers * weights],
  ['head', 0],
] as const satisfies readonly (readonly [TrainingMethod, number])[])
  test(`method ${method} learns something to compare with, and nothing to serve`, async () => {
    const { prototype, tasks, storage, result } = await trained([kind], { method, epochs: 4 })
    assert.equal(prototype, undefined)
    assert.equal(tasks[0]?.file, undefined)
    assert.equal(storage.shared, bits)
    assert.ok(result.score > 0.5)
  })

test('only multi has something to go on from alone', () =>
  assert.rejects(trained([kind], { method: 'single', finishEpochs: 2 }), /finish epochs are 2, but method "single"/))

test('only multi takes several tasks', () =>
  assert.rejects(trained([kind, count], { method: 'plain' }), /method "plain" takes one task, not 2; expected multi/))
