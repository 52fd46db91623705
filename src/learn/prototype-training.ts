// Trains a prototype by multi-task or single-task PROPETL (paper, section 3), and the baselines that they are compared
// with: plain modules and heads alone. All methods share one training loop; only the plan differs.

import type { Backbone } from '../backbones/backbone.js'
import type { ModuleConfig } from '../petl/kinds.js'
import { readPrototype, serializePrototype } from '../petl/prototype-file.js'
import type { Combining, Pooling, TaskMask } from '../petl/task.js'
import { Problem } from '../problem.js'
import type { Compute } from '../runtime/providers.js'
import { type MultiTaskPlan, trainSeparately } from './finishing.js'
import type { Metric } from './metrics.js'
import { type HeadKind, type ModulePlan, moduleParameters } from './plan.js'
import { hasHead } from './problem-traits.js'
import { Random } from './random.js'
import { initialHead, initialModule, storageBits, type Tensor } from './tensors.js'
import { taskMask, trainedTaskFile } from './trained-task-file.js'
import { type Rates, Trainer } from './trainer.js'
import { type RunControl, type Schedule, type TrainingResult, train } from './training.js'
import type { TrainingData } from './training-data.js'
import { methodDefaults, type TrainingMethod } from './training-methods.js'

export interface PrototypeOptions extends Schedule, Compute {
  readonly method: TrainingMethod
  /** How layer and task masks are combined (`multi`). */
  readonly combine: Exclude<Combining, 'none'>
  /** Epochs of separate training after the joint training (`multi`); by default 0. */
  readonly finishEpochs?: number | undefined
  readonly module: ModuleConfig
  readonly density: number
  readonly rates: Rates
  readonly weightDecay: number
  readonly pooling: Pooling
  readonly head: HeadKind
  readonly seed: number
}

export interface NamedTrainingData extends TrainingData {
  readonly id: string
}

export interface TrainedTask {
  readonly id: string
  readonly metric: Metric
  readonly score: number
  /** The task file, if the method makes one. */
  readonly file?: Uint8Array
}

export interface Trained {
  readonly result: TrainingResult
  readonly prototype?: Uint8Array
  readonly tasks: readonly TrainedTask[]
  /** Bits of the module that all tasks share, and that each task adds; without heads. */
  readonly storage: { readonly shared: number; readonly each: number }
}

/** @throws Problem `invalid_setting`, `learning_diverged` */
export async function trainPrototype(
  backbone: Backbone,
  data: readonly NamedTrainingData[],
  options: PrototypeOptions,
  watch: RunControl,
): Promise<Trained> {
  const { onProgress, signal } = watch
  const { method, head, seed } = options
  if (method !== 'multi' && data.length !== 1)
    throw new Problem('invalid_setting', `method "${method}" trains one task, not ${data.length}; use --method multi`)
  if (method !== 'multi' && options.finishEpochs)
    throw new Problem(
      'invalid_setting',
      `--finish-epochs ${options.finishEpochs} needs joint training, which method "${method}" does not have; ` +
        'remove it, or use --method multi',
    )
  const headless = data.find(({ space }) => !hasHead(space.problem))
  if (method === 'head' && headless)
    throw new Problem(
      'invalid_setting',
      `method "head" cannot train "${headless.id}", because a ${headless.space.problem} has no head`,
    )
  const { layers, hiddenSize: H } = backbone.dims
  const plan = prototypePlan(options)
  const initial = { deviation: methodDefaults[method].deviation }
  const parameters = plan ? moduleParameters(plan, layers, H) : []
  const shared = initialModule(
    parameters.filter(({ owner }) => owner !== 'task'),
    initial,
    new Random(seed, 'module'),
  )
  const tasks = data.map((task) => {
    const random = new Random(seed, `task ${task.id}`)
    const masks = initialModule(
      parameters.filter(({ owner }) => owner === 'task'),
      initial,
      random,
    )
    const headTensors = initialHead(task.space, H, head, random)
    return { ...task, problem: task.space.problem, head, masks, tensors: [...masks, ...headTensors] }
  })
  const jointTrainer = new Trainer(backbone, plan, shared, options)
  const joint = await train(jointTrainer, tasks, options, new Random(seed, 'batches'), onProgress, signal)
  await jointTrainer.release()
  const { finishEpochs = 0 } = options
  const { trainer, ...result } =
    isMultiTask(plan) && finishEpochs > 0 && !joint.stopped
      ? {
          ...joint,
          ...(await trainSeparately(backbone, plan, jointTrainer, tasks, { ...options, finishEpochs }, watch)),
        }
      : { trainer: jointTrainer, ...joint }

  const scored = tasks.map((task) => ({ id: task.id, metric: task.metric, score: result.scores.get(task.id) ?? 0 }))
  const storage = { shared: storageBits(shared), each: Math.max(...tasks.map(({ masks }) => storageBits(masks))) }
  if (plan?.kind !== 'prototype') return { result, tasks: scored, storage }
  const layerMasks = taskMask(trainer, shared)
  const ids = tasks.map(({ id }) => id)
  const prototype = prototypeFile(backbone, options.module, shared, layerMasks, ids)
  const { digest } = readPrototype(prototype)
  return {
    result,
    prototype,
    tasks: scored.map((task, at) => {
      const trained = tasks[at]
      if (trained === undefined) throw new Error(`task ${at} is missing`)
      const multi = method === 'multi'
      const file = trainedTaskFile(
        { ...trained, heldOut: trained.dev.examples.length },
        {
          prototype: digest,
          mask: multi ? taskMask(trainer, trained.masks) : layerMasks,
          combine: multi ? options.combine : 'none',
          pooling: options.pooling,
          normalize: true,
          texts: trained.texts,
          heldOut: trained.heldOut,
          score: task.score,
        },
      )
      return { ...task, file }
    }),
    storage,
  }
}

const isMultiTask = (plan: ModulePlan | undefined): plan is MultiTaskPlan =>
  plan?.kind === 'prototype' && plan.masks.kind === 'layer and task'

function prototypePlan({ method, module: config, combine }: PrototypeOptions): ModulePlan | undefined {
  switch (method) {
    case 'multi': {
      const masks = { kind: 'layer and task', layer: 'trained', task: 'trained', combine } as const
      return { kind: 'prototype', config, weights: 'trained', masks }
    }
    case 'single':
      return { kind: 'prototype', config, weights: 'trained', masks: { kind: 'layer', layer: 'trained' } }
    case 'plain':
      return { kind: 'plain', config, weights: 'trained' }
    case 'head':
      return undefined
  }
}

const prototypeFile = (
  backbone: Backbone,
  module: ModuleConfig,
  shared: readonly Tensor[],
  layerMasks: TaskMask,
  learnedOn: readonly string[],
): Uint8Array =>
  serializePrototype({
    backbone: backbone.digest,
    module,
    layers: backbone.dims.layers,
    hiddenSize: backbone.dims.hiddenSize,
    tensors: new Map(shared.map(({ name, values }) => [name, values])),
    layerMasks: layerMasks.bits,
    learnedOn,
  })
