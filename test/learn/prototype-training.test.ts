// Trains with each method of the paper on a few dozen examples, and serves and builds on the files that it writes.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { defaultColumns } from '../../src/data/columns.js'
import { Engine } from '../../src/engine/engine.js'
import { type Metric, pearson } from '../../src/learn/metrics.js'
import { loadModel } from '../../src/learn/model.js'
import { type NamedTrainingData, type PrototypeOptions, trainPrototype } from '../../src/learn/prototype-training.js'
import type { Progress } from '../../src/learn/run-progress.js'
import { loadTrainingData } from '../../src/learn/training-data.js'
import type { TrainingMethod } from '../../src/learn/training-methods.js'
import { checkTaskFitsPrototype } from '../../src/petl/combining.js'
import { readPrototype } from '../../src/petl/prototype-file.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { logitsOf } from '../../src/tasks/heads.js'
import { headOf, modelDir } from '../material.js'
import { engineRows } from './material.js'

const folder = await mkdtemp(join(tmpdir(), 'propetl-train-'))
after(() => rm(folder, { recursive: true }))
const model = await loadModel(modelDir, 64)

const numbers = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight']
const nouns = ['dog', 'cat', 'hammer', 'saw']
const examples = numbers.flatMap((number, n) => nouns.map((noun, i) => ({ text: `${number} ${noun}`, n, tool: i > 1 })))

async function taskOf(
  id: string,
  metric: Metric,
  label: (example: (typeof examples)[number]) => unknown,
): Promise<NamedTrainingData> {
  const path = join(folder, `${id}.jsonl`)
  await writeFile(
    path,
    examples.map((example) => JSON.stringify({ text: example.text, label: label(example) })).join('\n'),
  )
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
const train = (tasks: readonly NamedTrainingData[], changes: Partial<PrototypeOptions>) =>
  trainPrototype(model.backbone, tasks, { ...options, ...changes }, { onProgress: () => {}, signal: unstopped })

test('the best epoch of a metric that counts errors is the one with the smallest score', async () => {
  const errors = await taskOf('errors', 'rmse', ({ n }) => n + 0.5)
  const { result } = await train([errors], { method: 'single', epochs: 4 })
  assert.ok(Math.max(...result.epochs) > Math.min(...result.epochs))
  assert.equal(result.score, Math.min(...result.epochs))
})

const H = 384
const layers = 6
const maskable = 2 * 4 * H
const weights = maskable + 4 + H

const lora = { kind: 'lora', rank: 4, alpha: 6 } as const
const prefix = { kind: 'prefix', length: 4 } as const
const cases = [
  { module: options.module, combine: 'or', maskable, weights },
  { module: options.module, combine: 'and', maskable, weights },
  { module: options.module, combine: 'add', maskable, weights },
  { module: lora, combine: 'or', maskable: 4 * 4 * H, weights: 4 * 4 * H },
  { module: prefix, combine: 'add', maskable: 4 * 2 * H, weights: 4 * 2 * H },
] as const

for (const { module, combine, maskable, weights } of cases)
  test(`several tasks on one ${module.kind} with masks combined by ${combine} are served with their dev scores`, async () => {
    const { prototype: file, tasks, storage, result } = await train([kind, count], { module, combine })
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
      const dev = engineRows(task, prototype, data.dev)
      const served = (await engine.run(dev)).rows.map(({ pooled }) => logitsOf(headOf(task), pooled))
      const targets = Array.from(data.dev.examples, (row) => data.dev.set.targets[row] ?? Number.NaN)
      const score =
        data.metric === 'accuracy'
          ? served.filter(([a = 0, b = 0], at) => (b > a ? 1 : 0) === targets[at]).length / targets.length
          : pearson(
              served.map(([value = 0]) => value),
              targets,
            )
      const devScore = tasks[at]?.score ?? Number.NaN
      assert.ok(Math.abs(score - devScore) < 1e-4, `${data.id}: ${score} served, ${devScore} in training`)
    }
    await engine.close()
  })

test('separate training keeps the shared tensors and the better epochs of each task', async () => {
  // The rates are so low that one epoch leaves room for improvement.
  const slow = { ...options, epochs: 1, rates: { weights: 3e-3, scores: 1e-2, heads: 1e-4 } }
  const joint = await train([kind, count], slow)
  const seen: [step: number, steps: number][] = []
  const onProgress = ({ step, steps }: Progress) => seen.push([step, steps])
  const separate = await trainPrototype(
    model.backbone,
    [kind, count],
    { ...slow, finishEpochs: 8 },
    { onProgress, signal: unstopped },
  )
  assert.deepEqual(separate.prototype, joint.prototype)
  assert.deepEqual(separate.storage, joint.storage)
  // 24 examples of each task are 3 batches: one joint epoch, then 8 separate epochs of each task.
  assert.deepEqual(seen.at(5), [6, 6])
  assert.deepEqual([seen.length, seen.at(-1)], [6 + 48, [48, 48]])
  const better = separate.tasks.map(({ score }, at) => score - (joint.tasks[at]?.score ?? Number.NaN))
  assert.ok(Math.min(...better) >= 0 && Math.max(...better) > 0, `${better}`)
  const files = (tasks: typeof separate.tasks) => tasks.map(({ file }) => readTaskFile(file ?? assert.fail('no file')))
  for (const [at, task] of files(separate.tasks).entries()) {
    const before = files(joint.tasks)[at] ?? assert.fail()
    assert.equal(task.prototype, before.prototype)
    if ((better[at] ?? 0) > 0) assert.notDeepEqual(task.mask?.bits, before.mask?.bits)
  }
  const mean = separate.tasks.reduce((sum, { score }) => sum + score / 2, 0)
  assert.ok(Math.abs(separate.result.score - mean) < 1e-12)
})

test('the task file of the single-task method has the layer masks of the prototype', async () => {
  const { prototype: file, tasks, storage } = await train([kind], { method: 'single' })
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
  test(`method ${method} trains a baseline and writes no files`, async () => {
    const { prototype, tasks, storage, result } = await train([kind], { method, epochs: 4 })
    assert.equal(prototype, undefined)
    assert.equal(tasks[0]?.file, undefined)
    assert.equal(storage.shared, bits)
    assert.ok(result.score > 0.5)
  })

test('only the method multi has separate training', () =>
  assert.rejects(
    train([kind], { method: 'single', finishEpochs: 2 }),
    /--finish-epochs 2 needs joint training, which method "single" does not have/,
  ))

test('only the method multi trains several tasks', () =>
  assert.rejects(
    train([kind, count], { method: 'plain' }),
    /method "plain" trains one task, not 2; use --method multi/,
  ))
