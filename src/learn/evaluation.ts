// Evaluates a task on examples that it was not trained on.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import { Problem } from '../problem.js'
import { batchesByTokens } from './batches.js'
import type { Evaluation } from './evaluated-examples.js'
import { type EncodedExample, encodedExamples, labelStarts, type Subset, targetsOf } from './example-set.js'
import { metricTable } from './metric-table.js'
import type { Metric } from './metrics.js'
import { problemTraits } from './problem-traits.js'
import type { Unit } from './problems/learned-problem.js'
import type { TaskModel, Trainer } from './trainer.js'
import { noToken } from './word-table.js'

/** The requested metric, or the default. @throws Problem `invalid_setting` if it does not apply to the labels */
export function metricFor(space: LabelSpace, wanted?: Metric): Metric {
  const metrics = problemTraits[space.problem].metrics(space)
  if (wanted === undefined) return metrics[0]
  if (metrics.includes(wanted)) return wanted
  const untagged = space.problem === 'token_classification' ? ' whose labels are not O, B- and I-' : ''
  throw new Problem(
    'invalid_setting',
    `metric "${wanted}" does not apply to a ${space.problem}${wanted === 'span_f1' ? untagged : ''}; ` +
      `expected ${metrics.join(' | ')}`,
  )
}

/** Runs a task on a subset. */
export async function evaluateSubset(
  trainer: Trainer,
  task: TaskModel,
  space: LabelSpace,
  subset: Subset,
  onDone?: OnExamplesDone,
): Promise<Evaluation> {
  return evaluationOf(await headOutputs(trainer, task, space, subset, onDone), space, subset)
}

/** The outputs of a task's head for a subset, [N, C] in its order; NaN for words without token. */
export async function headOutputs(
  trainer: Trainer,
  task: TaskModel,
  space: LabelSpace,
  subset: Subset,
  onDone?: OnExamplesDone,
): Promise<Float32Array> {
  const C = outputCount(space)
  const outputs = await runInOrder(trainer, subset, C, (examples) => trainer.outputs(examples, task), onDone)
  return withoutMissingWords(outputs, C, subset)
}

/** Overwrites the outputs of words without token by NaN. */
export function withoutMissingWords(outputs: Float32Array, C: number, subset: Subset): Float32Array {
  const { words } = subset.set
  if (words === undefined) return outputs
  const starts = labelStarts(subset)
  for (const [at, example] of subset.examples.entries())
    for (const [word, token] of words.tokens(example).entries()) {
      const label = (starts[at] ?? 0) + word
      if (token === noToken) outputs.fill(Number.NaN, label * C, (label + 1) * C)
    }
  return outputs
}

/** @param outputs [N, C] in the order of the subset; NaN for words without token */
export function evaluationOf(outputs: Float32Array, space: LabelSpace, subset: Subset): Evaluation {
  const { predictions, labelsOf } = problemTraits[space.problem]
  return {
    outputs,
    predictions: predictions(space, outputs),
    actual: labelsOf(space, targetsOf(subset)),
    starts: labelStarts(subset),
  }
}

/** The inputs of a head for a subset, in its order: [N, H]. */
export const headInputs = (
  bare: Trainer,
  subset: Subset,
  unit: Exclude<Unit, 'pair'>,
  onDone?: OnExamplesDone,
): Promise<Float32Array> =>
  runInOrder(bare, subset, bare.backbone.dims.hiddenSize, (examples) => bare.vectors(examples, unit), onDone)

/** Receives the number of examples that are done. An error that it throws ends the work. */
export type OnExamplesDone = (done: number, all: number) => void

/** Runs a subset in batches by length. @param run returns [N, width] for a batch @returns all, in the order of the subset */
async function runInOrder(
  { maxRunTokens }: Trainer,
  subset: Subset,
  width: number,
  run: (examples: readonly EncodedExample[]) => Promise<Float32Array>,
  onDone: OnExamplesDone = () => {},
): Promise<Float32Array> {
  const { set, examples } = subset
  const positions = new Map(Array.from(examples, (example, at) => [example, at]))
  const starts = labelStarts(subset)
  const all = new Float32Array((starts[examples.length] ?? 0) * width)
  let done = 0
  for (const batch of batchesByTokens(subset, maxRunTokens)) {
    const found = await run(encodedExamples({ set, examples: batch }))
    let from = 0
    for (const example of batch) {
      const at = positions.get(example) ?? 0
      const [start = 0, end = 0] = starts.subarray(at, at + 2)
      const to = from + (end - start) * width
      all.set(found.subarray(from, to), start * width)
      from = to
    }
    done += batch.length
    onDone(done, examples.length)
  }
  return all
}

/** @param metric one that applies to the label space */
export const scoreOf = (metric: Metric, space: LabelSpace, evaluation: Evaluation): number =>
  metricTable[metric].score(space, evaluation)
