// One run, by the learning functions that users call: which of them, with what settings, and what counts of it.

import { trainHeadOnly } from '../../src/learn/baseline.js'
import type { Model } from '../../src/learn/model.js'
import { trainNewTask } from '../../src/learn/new-task.js'
import { type NamedTrainingData, trainPrototype } from '../../src/learn/prototype-training.js'
import { backboneBits } from '../../src/learn/tensors.js'
import type { Progress, RunControl } from '../../src/learn/training.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { prototypeBits, taskBits } from '../../src/petl/storage.js'
import { Problem } from '../../src/problem.js'
import type { Compute } from '../../src/runtime/execution-providers.js'
import {
  type HeadSettings,
  type MaskSettings,
  type ModuleSettings,
  moduleMethods,
  type Settings,
} from './compared-methods.js'
import type { Outcome, TaskScore } from './run.js'

/** What runs learn from and on. */
export interface Material extends Compute {
  readonly model: Model
  /** What masks are learned on, where a run learns any. */
  readonly prototype: Prototype | undefined
}

/** @throws Problem `learning_diverged` */
export async function trainRun(
  material: Material,
  tasks: readonly NamedTrainingData[],
  seed: number,
  settings: Settings,
  watch: RunControl,
): Promise<Outcome> {
  const [task] = tasks
  if (task === undefined) throw new Problem('invalid_setting', 'a run has no tasks; expected at least one')
  switch (settings.method) {
    case 'head':
      return trainHead(material, task, seed, settings, watch)
    case 'mask-one':
    case 'mask-layer':
      return trainMask(material, task, seed, settings, watch)
    default:
      return trainModule(material, tasks, seed, settings, watch)
  }
}

async function trainHead(
  { model, provider, threads }: Material,
  task: NamedTrainingData,
  seed: number,
  settings: HeadSettings,
  { signal }: RunControl,
): Promise<Outcome> {
  const { score, bestEpoch, epochs, steps } = await trainHeadOnly(
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

async function trainModule(
  { model, provider, threads }: Material,
  tasks: readonly NamedTrainingData[],
  seed: number,
  settings: ModuleSettings,
  watch: RunControl,
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

async function trainMask(
  { model, prototype, provider, threads }: Material,
  task: NamedTrainingData,
  seed: number,
  settings: MaskSettings,
  watch: RunControl,
): Promise<Outcome> {
  if (prototype === undefined) throw new Error('a mask is to be learned on no prototype')
  const maskRows = settings.method === 'mask-one' ? 'one' : 'layer'
  const counted = new StepCount(watch)
  const { result } = await trainNewTask(
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
class StepCount implements RunControl {
  steps = 0

  constructor(readonly watch: RunControl) {}

  get signal(): AbortSignal {
    return this.watch.signal
  }

  readonly onProgress = (progress: Progress): void => {
    this.steps++
    this.watch.onProgress(progress)
  }
}

function scored({ id, metric, train, dev }: NamedTrainingData, score: number): TaskScore {
  if (!Number.isFinite(score)) throw new Problem('learning_diverged', `the dev score of ${id} is ${score}`)
  return { task: id, metric, score, trainRows: train.examples.length, devRows: dev.examples.length }
}
