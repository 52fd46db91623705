// Trains one run with the same functions as the commands learn and train.

import type { Model } from '../../src/learn/model.js'
import { trainNewTask } from '../../src/learn/new-task.js'
import { type NamedTrainingData, trainPrototype } from '../../src/learn/prototype-training.js'
import type { Progress } from '../../src/learn/run-progress.js'
import { backboneBits } from '../../src/learn/tensors.js'
import type { RunControl } from '../../src/learn/training.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { prototypeBits, taskBits } from '../../src/petl/storage.js'
import { Problem } from '../../src/problem.js'
import type { Compute } from '../../src/runtime/providers.js'
import {
  type HeadSettings,
  type MaskSettings,
  type ModuleSettings,
  moduleMethods,
  type Settings,
} from './compared-methods.js'
import { trainHeadOnly } from './head-only.js'
import type { Outcome, TaskScore } from './run.js'

/** The models that runs use. */
export interface Material extends Compute {
  readonly model: Model
  /** The prototype that masks are trained on, if there are such runs. */
  readonly prototype: Prototype | undefined
}

/** @throws Problem `learning_diverged` */
export async function trainRun(
  material: Material,
  tasks: readonly NamedTrainingData[],
  seed: number,
  settings: Settings,
  control: RunControl,
): Promise<Outcome> {
  const [task] = tasks
  if (task === undefined) throw new Problem('invalid_setting', 'a run has no tasks; expected at least one')
  switch (settings.method) {
    case 'head':
      return trainHead(material, task, seed, settings, control)
    case 'mask-one':
    case 'mask-layer':
      return trainMask(material, task, seed, settings, control)
    default:
      return trainModule(material, tasks, seed, settings, control)
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
  control: RunControl,
): Promise<Outcome> {
  const { learning: method } = moduleMethods[settings.method]
  const counter = new StepCount(control)
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
    counter,
  )
  return {
    scores: tasks.map((task) => scored(task, result.scores.get(task.id) ?? Number.NaN)),
    bestEpoch: result.bestEpoch,
    epochs: result.epochs.length,
    steps: counter.steps,
    storage: method === 'multi' ? storage : { shared: 0, each: storage.shared + storage.each },
    backboneBits: backboneBits(model.backbone),
  }
}

async function trainMask(
  { model, prototype, provider, threads }: Material,
  task: NamedTrainingData,
  seed: number,
  settings: MaskSettings,
  control: RunControl,
): Promise<Outcome> {
  if (prototype === undefined) throw new Error('a mask cannot be trained without a prototype')
  const maskRows = settings.method === 'mask-one' ? 'one' : 'layer'
  const counter = new StepCount(control)
  const { result } = await trainNewTask(
    model,
    prototype,
    task,
    { ...settings, maskRows, head: 'linear', normalize: true, seed, provider, threads, baseline: false },
    counter,
  )
  const { weights, layerMasks } = prototypeBits(prototype)
  return {
    scores: [scored(task, result.score)],
    bestEpoch: result.bestEpoch,
    epochs: result.epochs,
    steps: counter.steps,
    storage: {
      shared: weights + (settings.combine === 'none' ? 0 : layerMasks),
      each: taskBits(prototype, maskRows === 'one' ? 1 : prototype.layers),
    },
    backboneBits: backboneBits(model.backbone),
  }
}

/** Counts the steps of a run, over all its stages. */
class StepCount implements RunControl {
  steps = 0

  constructor(readonly control: RunControl) {}

  get signal(): AbortSignal {
    return this.control.signal
  }

  readonly onProgress = (progress: Progress): void => {
    this.steps++
    this.control.onProgress(progress)
  }
}

function scored({ id, metric, train, dev }: NamedTrainingData, score: number): TaskScore {
  if (!Number.isFinite(score)) throw new Problem('learning_diverged', `the dev score of ${id} is ${score}`)
  return { task: id, metric, score, trainRows: train.examples.length, devRows: dev.examples.length }
}
