// One run, by the learning functions that users call: which of them, with what settings, and what counts of it.

import { headAlone } from '../../src/learn/baseline.js'
import type { Model } from '../../src/learn/model.js'
import { learnNewTask } from '../../src/learn/new-task.js'
import { type NamedTaskData, trainPrototype } from '../../src/learn/prototype-training.js'
import { backboneBits } from '../../src/learn/tensors.js'
import type { Progress, Watch } from '../../src/learn/training.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { prototypeBits, taskBits } from '../../src/petl/storage.js'
import { Problem } from '../../src/problem.js'
import type { Compute } from '../../src/runtime/execution-providers.js'
import { type HeadSettings, type MaskSettings, type ModuleSettings, moduleMethods, type Settings } from './method.js'
import type { Outcome, TaskScore } from './run.js'

/** What runs learn from and on. */
export interface Material extends Compute {
  readonly model: Model
  /** What masks are learned on, where a run learns any. */
  readonly prototype: Prototype | undefined
}

/** @throws Problem `learning_diverged` */
export async function learn(
  material: Material,
  tasks: readonly NamedTaskData[],
  seed: number,
  settings: Settings,
  watch: Watch,
): Promise<Outcome> {
  const [task] = tasks
  if (task === undefined) throw new Problem('invalid_setting', 'a run has no tasks; expected at least one')
  switch (settings.method) {
    case 'head':
      return learnHead(material, task, seed, settings, watch)
    case 'mask-one':
    case 'mask-layer':
      return learnMask(material, task, seed, settings, watch)
    default:
      return learnModule(material, tasks, seed, settings, watch)
  }
}

async function learnHead(
  { model, provider, threads }: Material,
  task: NamedTaskData,
  seed: number,
  settings: HeadSettings,
  { signal }: Watch,
): Promise<Outcome> {
  const { score, bestEpoch, epochs, steps } = await headAlone(
    model.backbone,
    task,
    { ...settings, head: 'linear', seed, provider, threads },
    signal,
  )
  return {
    scores: [scored(task, score)],
    bestEpoch,
    epochs,
    steps,
    storage: { shared: 0, each: 0 },
    backboneBits: backboneBits(model.backbone),
  }
}

async function learnModule(
  { model, provider, threads }: Material,
  tasks: readonly NamedTaskData[],
  seed: number,
  settings: ModuleSettings,
  watch: Watch,
): Promise<Outcome> {
  const { learning: method } = moduleMethods[settings.method]
  const counted = new StepCount(watch)
  const { result, storage } = await trainPrototype(
    model.backbone,
    tasks,
    {
      ...settings,
      method,
      combine: 'or',
      head: 'linear',
      seed,
      provider,
      threads,
    },
    counted,
  )
  return {
    scores: tasks.map((task) => scored(task, result.scores.get(task.id) ?? Number.NaN)),
    bestEpoch: result.bestEpoch,
    epochs: result.epochs.length,
    steps: counted.steps,
    storage: method === 'multi' ? storage : { shared: 0, each: storage.shared + storage.each },
    backboneBits: backboneBits(model.backbone),
  }
}

async function learnMask(
  { model, prototype, provider, threads }: Material,
  task: NamedTaskData,
  seed: number,
  settings: MaskSettings,
  watch: Watch,
): Promise<Outcome> {
  if (prototype === undefined) throw new Error('a mask is to be learned on no prototype')
  const maskRows = settings.method === 'mask-one' ? 'one' : 'layer'
  const counted = new StepCount(watch)
  const { result } = await learnNewTask(
    model,
    prototype,
    task,
    { ...settings, maskRows, head: 'linear', normalize: true, seed, provider, threads, baseline: false },
    counted,
  )
  const { weights, layerMasks } = prototypeBits(prototype)
  return {
    scores: [scored(task, result.score)],
    bestEpoch: result.bestEpoch,
    epochs: result.epochs.length,
    steps: counted.steps,
    storage: {
      shared: weights + (settings.combine === 'none' ? 0 : layerMasks),
      each: taskBits(prototype, maskRows === 'one' ? 1 : prototype.layers),
    },
    backboneBits: backboneBits(model.backbone),
  }
}

/** A watch that counts steps, also where a run has several stages. */
class StepCount implements Watch {
  steps = 0

  constructor(readonly watch: Watch) {}

  get signal(): AbortSignal {
    return this.watch.signal
  }

  readonly onProgress = (progress: Progress): void => {
    this.steps++
    this.watch.onProgress(progress)
  }
}

function scored({ id, metric, train, dev }: NamedTaskData, score: number): TaskScore {
  if (!Number.isFinite(score)) throw new Problem('learning_diverged', `the dev score of ${id} is ${score}`)
  return { task: id, metric, score, trainRows: train.rows.length, devRows: dev.rows.length }
}
