// The end of a multi-task run. Together, tasks learn what they share; then the prototype and its layer masks are frozen, and
// each goes on alone with its own mask and head, on what no other task moves any more. Storage is the same. The paper
// (section 3.3) ends where this begins.

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
  /** Times that every row is seen again. */
  readonly finishEpochs: number
  readonly seed: number
}

export type MultiTaskPlan = Extract<ModulePlan, { kind: 'prototype' }> & {
  readonly masks: Extract<MaskPlan, { kind: 'layer and task' }>
}

/**
 * Goes on with each task alone. When it returns, the tasks' tensors hold what was best, which may be what they began with.
 * @param together the learner that they learned with
 * @returns the learner that has the masks as they are now, and the dev scores
 * @throws Problem `learning_diverged`
 */
export async function trainSeparately(
  backbone: Backbone,
  plan: MultiTaskPlan,
  together: Trainer,
  tasks: readonly TrainingTask[],
  options: FinishingOptions,
  { onProgress, signal }: RunControl,
): Promise<Pick<TrainingResult, 'score' | 'scores' | 'stopped'> & { readonly learner: Trainer }> {
  const { batchRows, finishEpochs, seed } = options
  const frozen: ModulePlan = { ...plan, weights: 'frozen', masks: { ...plan.masks, layer: 'frozen' } }
  const shared = together.shared.map((tensor): Tensor => {
    return { ...tensor, training: 'frozen', values: tensor.kind === 'mask' ? together.maskOf(tensor) : tensor.values }
  })
  const learner = new Trainer(backbone, frozen, shared, options)
  const scores = new Map<string, number>()
  const start = performance.now()
  const steps = finishEpochs * stepsOfEpoch(tasks, batchRows)
  let before = 0
  for (const task of tasks) {
    const schedule = { batchRows, epochs: finishEpochs, keepInitial: true }
    const random = new Random(seed, `finishing ${task.id}`)
    const { score } = await train(
      learner,
      [task],
      schedule,
      random,
      (progress) => {
        const step = before + progress.step
        const millisecondsLeft = ((performance.now() - start) / step) * (steps - step)
        onProgress({ ...progress, step, steps, millisecondsLeft })
      },
      signal,
    )
    scores.set(task.id, score)
    before += finishEpochs * stepsOfEpoch([task], batchRows)
  }
  await learner.release()
  return { learner, score: mean([...scores.values()]), scores, stopped: signal.aborted }
}
