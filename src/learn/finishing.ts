// The second stage of a multi-task run. After joint training, the prototype and its layer masks are frozen, and each
// task trains its own mask and head alone. Storage does not change. The paper (section 3.3) has only the joint stage.

import type { Backbone } from '../backbones/backbone.js'
import type { MaskPlan, ModulePlan } from './plan.js'
import { Random } from './random.js'
import type { Tensor } from './tensors.js'
import { Trainer, type TrainerOptions } from './trainer.js'
import {
  mean,
  type RunControl,
  type Schedule,
  stepsOfEpoch,
  type TrainingResult,
  type TrainingTask,
  train,
} from './training.js'

export interface FinishingOptions extends TrainerOptions, Pick<Schedule, 'batchRows'> {
  /** Epochs of separate training. */
  readonly finishEpochs: number
  readonly seed: number
}

export type MultiTaskPlan = Extract<ModulePlan, { kind: 'prototype' }> & {
  readonly masks: Extract<MaskPlan, { kind: 'layer and task' }>
}

/**
 * Trains each task separately. When it returns, the tensors of the tasks hold the best values, possibly the initial ones.
 * @param joint the trainer of the joint stage
 * @returns the trainer that holds the current masks, and the dev scores
 * @throws Problem `learning_diverged`
 */
export async function trainSeparately(
  backbone: Backbone,
  plan: MultiTaskPlan,
  joint: Trainer,
  tasks: readonly TrainingTask[],
  options: FinishingOptions,
  { onProgress, signal }: RunControl,
): Promise<Pick<TrainingResult, 'score' | 'scores' | 'stopped'> & { readonly trainer: Trainer }> {
  const { batchRows, finishEpochs, seed } = options
  const frozen: ModulePlan = { ...plan, weights: 'frozen', masks: { ...plan.masks, layer: 'frozen' } }
  const shared = joint.shared.map((tensor): Tensor => {
    return { ...tensor, training: 'frozen', values: tensor.kind === 'mask' ? joint.maskOf(tensor) : tensor.values }
  })
  const trainer = new Trainer(backbone, frozen, shared, options)
  const scores = new Map<string, number>()
  const start = performance.now()
  const steps = finishEpochs * stepsOfEpoch(tasks, batchRows)
  let stepsBefore = 0
  for (const task of tasks) {
    const schedule = { batchRows, epochs: finishEpochs, keepInitial: true }
    const random = new Random(seed, `finishing ${task.id}`)
    const { score } = await train(
      trainer,
      [task],
      schedule,
      random,
      (progress) => {
        const step = stepsBefore + progress.step
        const millisecondsLeft = ((performance.now() - start) / step) * (steps - step)
        onProgress({ ...progress, step, steps, millisecondsLeft })
      },
      signal,
    )
    scores.set(task.id, score)
    stepsBefore += finishEpochs * stepsOfEpoch([task], batchRows)
  }
  await trainer.release()
  return { trainer, score: mean([...scores.values()]), scores, stopped: signal.aborted }
}
