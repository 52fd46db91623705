// A training run: epochs over the batches of one or several tasks. It computes the dev score after each epoch and keeps
// the best epoch.

import type { LabelSpace } from '../data/label-space.js'
import { shuffledBatches } from './batches.js'
import { evaluateSubset, scoreOf } from './evaluation.js'
import { encodedExamples, type Subset, targetsOf } from './example-set.js'
import { merit } from './metric-table.js'
import type { Metric } from './metrics.js'
import { rateShare } from './optimiser.js'
import { problemTraits } from './problem-traits.js'
import type { Random } from './random.js'
import { type Progress, RunProgress } from './run-progress.js'
import type { TaskModel, Trainer } from './trainer.js'

export interface TrainingTask extends TaskModel {
  readonly id: string
  readonly space: LabelSpace
  readonly metric: Metric
  readonly train: Subset
  readonly dev: Subset
}

export interface Schedule {
  /** Passes over the training examples; by default enough for `enoughSteps`, within bounds. */
  readonly epochs?: number | undefined
  readonly batchRows: number
  /** Whether the initial tensors also count as an epoch, which may be the best. */
  readonly keepInitial?: boolean
}

const enoughSteps = 400
const epochBounds = [3, 50] as const

/** How the caller of a run follows and stops it. */
export interface RunControl {
  readonly onProgress: (progress: Progress) => void
  /** If aborted, the run ends after the current step and keeps the best epoch so far. */
  readonly signal: AbortSignal
}

export interface TrainingResult {
  /** From 1; 0 if the initial tensors were best, or the run was stopped before the first epoch ended. */
  readonly bestEpoch: number
  /** Mean dev score of the tasks at the best epoch, and the score of each task. */
  readonly score: number
  readonly scores: ReadonlyMap<string, number>
  /** Mean dev score after each epoch. */
  readonly epochs: readonly number[]
  /** Steps done; 0 if the run was stopped before the first one. */
  readonly steps: number
  readonly stopped: boolean
}

/**
 * Trains. When it returns, the tensors hold the values of the best epoch. The batches of all tasks are shuffled
 * together, so that larger tasks get more steps.
 * @param signal if aborted, the run ends after the current step and keeps the best epoch so far
 * @throws Problem `learning_diverged`
 */
export async function train(
  trainer: Trainer,
  tasks: readonly TrainingTask[],
  { batchRows, epochs: givenEpochs, keepInitial }: Schedule,
  random: Random,
  onProgress: (progress: Progress) => void = () => {},
  signal?: AbortSignal,
): Promise<TrainingResult> {
  const tensors = [...trainer.shared, ...tasks.flatMap((task) => task.tensors)].filter(
    ({ training }) => training === 'trained',
  )
  const epochSteps = stepsOfEpoch(tasks, batchRows)
  const epochs = givenEpochs ?? Math.min(Math.max(Math.ceil(enoughSteps / epochSteps), epochBounds[0]), epochBounds[1])
  const allSteps = epochs * epochSteps
  const progress = new RunProgress(allSteps, 'dev score', onProgress)
  const history: number[] = []
  let best:
    | { epoch: number; score: number; merit: number; scores: Map<string, number>; values: Float32Array[] }
    | undefined

  const evaluate = async (epoch: number) => {
    const scores = await devScores(trainer, tasks)
    const score = mean([...scores.values()])
    if (epoch > 0) history.push(score)
    const ownMerit = mean(tasks.map(({ id, metric }) => merit(metric, scores.get(id) ?? Number.NaN)))
    if (best !== undefined && ownMerit <= best.merit) return
    best = { epoch, score, merit: ownMerit, scores, values: tensors.map(({ values }) => values.slice()) }
    progress.best = score
  }

  if (keepInitial) await evaluate(0)
  for (let epoch = 1; epoch <= epochs && !signal?.aborted; epoch++) {
    const batches = tasks.flatMap((task) =>
      shuffledBatches(task.train, batchRows, random).map((examples) => ({ task, examples })),
    )
    for (const at of tasks.length === 1 ? batches.keys() : random.order(batches.length)) {
      const batch = batches[at]
      if (batch === undefined || signal?.aborted) break
      const { task, examples } = batch
      const subset = { set: task.train.set, examples }
      progress.stepped(await trainBatch(trainer, task, task.space, subset, rateShare(progress.step, allSteps)))
    }
    if (!signal?.aborted) await evaluate(epoch)
  }

  if (best === undefined) await evaluate(0)
  if (best === undefined) throw new Error('a run ended without a score')
  for (const [at, { values }] of tensors.entries()) values.set(best.values[at] ?? [])
  trainer.tensorsChanged()
  const { epoch, score, scores } = best
  return { bestEpoch: epoch, score, scores, epochs: history, steps: progress.step, stopped: signal?.aborted ?? false }
}

/** One step on a batch. @param share share of the learning rates @returns its loss */
export function trainBatch(
  trainer: Trainer,
  task: TaskModel,
  space: LabelSpace,
  batch: Subset,
  share: number,
): Promise<number> {
  const targets = problemTraits[task.problem].lossTargets(space, targetsOf(batch))
  return trainer.step(task, encodedExamples(batch), targets, share)
}

async function devScores(trainer: Trainer, tasks: readonly TrainingTask[]): Promise<Map<string, number>> {
  const scores = new Map<string, number>()
  for (const task of tasks)
    scores.set(task.id, scoreOf(task.metric, task.space, await evaluateSubset(trainer, task, task.space, task.dev)))
  return scores
}

/** Batches of one epoch over all tasks. Each batch belongs to one task. */
export const stepsOfEpoch = (tasks: readonly Pick<TrainingTask, 'train'>[], batchRows: number): number =>
  tasks.reduce((sum, { train }) => sum + Math.ceil(train.examples.length / batchRows), 0)

export const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length
