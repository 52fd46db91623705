// Trains a new task on a frozen prototype, as `propetl learn` does: a mask and a head, written as a task file.

import { packBits } from '../petl/bitset.js'
import type { Prototype } from '../petl/prototype.js'
import type { Combining, Pooling, TaskMask } from '../petl/task.js'
import type { TaskFile } from '../petl/task-file.js'
import { Problem } from '../problem.js'
import type { Compute } from '../runtime/execution-providers.js'
import { trainHeadOnly } from './baseline.js'
import { type Evaluation, evaluateSubset, type OnExamplesDone } from './evaluation.js'
import type { LabelSpace } from './label-space.js'
import { confusion, type Metric } from './metrics.js'
import type { Model } from './model.js'
import { type HeadKind, type MaskPlan, type ModulePlan, moduleParameters } from './plan.js'
import { hasHead } from './problem-traits.js'
import { Random } from './random.js'
import { checkCanResume, copyResumedTask } from './resume.js'
import { initialHead, initialModule, type ModuleTensor } from './tensors.js'
import { trainedTaskFile } from './trained-task-file.js'
import { type Rates, Trainer } from './trainer.js'
import { type RunControl, type Schedule, type TrainingResult, train } from './training.js'
import type { TrainingData } from './training-data.js'

export interface NewTaskOptions extends Schedule, Compute {
  /** One mask per layer, or one for all layers. */
  readonly maskRows: 'layer' | 'one'
  /** How the mask is combined with the prototype's layer masks. All but `none` need one mask for all layers. */
  readonly combine: Combining
  readonly density: number
  readonly rates: Pick<Rates, 'scores' | 'heads'>
  readonly weightDecay: number
  readonly pooling: Pooling
  readonly head: HeadKind
  /** Whether the vectors of a feature extraction are scaled to an L2 norm of 1. */
  readonly normalize: boolean
  readonly seed: number
  /** Whether to compute the baseline too: a head alone or, for a task without a head, the bare backbone. */
  readonly baseline: boolean
  readonly description?: string
  /** A task of the same kind to resume. */
  readonly resume?: TaskFile
}

/** Examples (of a token classification: words) of one label for which another one was predicted. */
export interface Confusion {
  readonly actual: string
  readonly predicted: string
  readonly rows: number
  /** All examples or words with the actual label. */
  readonly of: number
}

export interface NewTask {
  readonly file: Uint8Array
  readonly result: TrainingResult
  readonly metric: Metric
  /** Dev score of the baseline. */
  readonly headOnly?: number
  /** Most frequent first; empty unless each example or word has one label. */
  readonly confusions: readonly Confusion[]
}

export async function trainNewTask(
  { backbone }: Model,
  prototype: Prototype,
  data: TrainingData,
  options: NewTaskOptions,
  { onProgress, onBaseline, signal }: RunControl & { readonly onBaseline?: OnExamplesDone },
): Promise<NewTask> {
  const { layers, hiddenSize: H } = backbone.dims
  const { head, seed, batchRows, pooling, provider, threads } = options
  checkOptions(data.space, options)
  const plan = taskPlan(prototype, options)
  const maskRows = options.maskRows === 'one' ? 1 : layers
  if (options.resume) checkCanResume(options.resume, prototype, data.space, { ...options, maskRows })
  const trainerOptions = { ...options, rates: { ...options.rates, weights: 0 } }

  const headOnly = options.baseline
    ? await trainHeadOnly(
        backbone,
        data,
        { head, seed, batchRows, pooling, provider, threads },
        signal,
        onBaseline,
      ).catch((error: unknown) => {
        if (signal.aborted) return undefined
        throw error
      })
    : undefined

  const random = new Random(seed, 'beginning')
  const module = initialModule(moduleParameters(plan, layers, H), prototype, random)
  const tensors = initialHead(data.space, H, head, random)
  if (options.resume) copyResumedTask(options.resume, prototype, data.space, module, tensors, random)
  const trainer = new Trainer(backbone, plan, module, trainerOptions)
  const training = { id: 'task', problem: data.space.problem, ...data, head, tensors }
  const schedule = { ...options, keepInitial: options.resume !== undefined }
  const result = await train(trainer, [training], schedule, new Random(seed, 'batches'), onProgress, signal)
  const evaluation = await evaluateSubset(trainer, training, data.space, data.dev)
  await trainer.release()

  const file = trainedTaskFile(training, {
    prototype: prototype.digest,
    mask: taskMask(trainer, module),
    combine: options.combine,
    pooling,
    normalize: options.normalize,
    score: result.score,
    ...(options.description !== undefined && { description: options.description }),
  })
  return {
    file,
    result,
    metric: data.metric,
    ...(headOnly && { headOnly: headOnly.score }),
    confusions: findConfusions(data.space, evaluation),
  }
}

/** @throws Problem `invalid_setting` for an option that does not apply to the problem type */
function checkOptions({ problem }: LabelSpace, { head, normalize }: NewTaskOptions): void {
  if (head === 'dense' && !hasHead(problem))
    throw new Problem('invalid_setting', `a ${problem} has no head; remove --head`)
  if (!normalize && problem !== 'feature_extraction')
    throw new Problem('invalid_setting', `a ${problem} has no vectors to normalise; remove --no-normalize`)
}

function taskPlan(prototype: Prototype, { maskRows, combine }: NewTaskOptions): ModulePlan {
  const masks = (): MaskPlan => {
    if (maskRows === 'layer') {
      if (combine === 'none') return { kind: 'layer', layer: 'trained' }
      throw new Problem(
        'invalid_setting',
        `--combine ${combine} needs one mask for all layers; add --mask-rows one, or remove --combine`,
      )
    }
    if (combine === 'none') return { kind: 'task', task: 'trained' }
    if (prototype.layerMasks) return { kind: 'layer and task', layer: 'frozen', task: 'trained', combine }
    throw new Problem(
      'invalid_setting',
      `--combine ${combine} needs a prototype with layer masks, and this one has none; remove --combine`,
    )
  }
  return { kind: 'prototype', config: prototype.module, weights: 'frozen', masks: masks() }
}

/**
 * The mask of a task file from the current masks of tensors.
 * @param tensors the tensors of the module, for one owner or for several
 */
export function taskMask(trainer: Trainer, tensors: readonly ModuleTensor[]): TaskMask {
  const masks = tensors.filter(({ kind, training }) => kind === 'mask' && training === 'trained')
  const owners = [...new Set(masks.map(({ owner }) => owner))]
  const layers = owners.map((owner) =>
    packBits(masks.filter((mask) => mask.owner === owner).map((mask) => trainer.maskOf(mask))),
  )
  const bits = Uint8Array.from(Buffer.concat(layers))
  return { layers: layers.length, weights: (8 * bits.byteLength) / layers.length, exact: false, bits }
}

function findConfusions({ problem, labels }: LabelSpace, { predictions, actual }: Evaluation): Confusion[] {
  if (problem !== 'single_label_classification' && problem !== 'token_classification') return []
  const C = labels.length
  const counts = confusion(predictions, actual, C)
  const found: Confusion[] = []
  for (const [cell, rows] of counts.entries()) {
    const a = Math.floor(cell / C)
    const p = cell % C
    if (a === p || rows === 0) continue
    const of = counts.subarray(a * C, (a + 1) * C).reduce((sum, count) => sum + count, 0)
    found.push({ actual: labels[a] ?? '', predicted: labels[p] ?? '', rows, of })
  }
  return found.sort((x, y) => y.rows - x.rows)
}
