// Evaluates a task on examples that it was not trained on.

import { type LabelSpace, labelCount, outputCount } from '../data/label-space.js'
import { tagsOf } from '../formats/iob.js'
import { Problem } from '../problem.js'
import { batchesByTokens } from './batches.js'
import { type EncodedExample, encodedExamples, labelStarts, type Subset, targetsOf } from './example-set.js'
import { accuracy, f1, type Metric, macroF1, matthews, pearson, spanCounts, spanF1, spearman } from './metrics.js'
import { problemTraits, type Unit } from './problem-traits.js'
import type { Random } from './random.js'
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

/** Predictions for some examples, and their labels. */
export interface Evaluation {
  /** [N, width] each. A class of −1 means no prediction, because the word was truncated. */
  readonly predictions: Float32Array
  readonly actual: Float32Array
  /** Index of the first label of each example, and the number of labels at the end: [examples + 1]. */
  readonly starts: Int32Array
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
  const starts = labelStarts(subset)
  return { predictions: problemTraits[space.problem].predictions(space, outputs), actual: targetsOf(subset), starts }
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
export function scoreOf(metric: Metric, space: LabelSpace, evaluation: Evaluation): number {
  const { predictions, actual } = evaluation
  const C = labelCount(space)
  switch (metric) {
    case 'pearson':
      return pearson(predictions, actual)
    case 'spearman':
      return spearman(predictions, actual)
    case 'pearson_and_spearman':
      return (pearson(predictions, actual) + spearman(predictions, actual)) / 2
    case 'accuracy':
      return accuracy(predictions, actual)
    case 'matthews_correlation':
      return matthews(predictions, actual, C)
    case 'macro_f1':
      return space.problem === 'multi_label_classification'
        ? meanLabelF1(predictions, actual, space)
        : macroF1(predictions, actual, C)
    case 'accuracy_and_f1':
      return (accuracy(predictions, actual) + f1(predictions, actual, C)) / 2
    case 'span_f1':
      return spanF1(spanCountsOf(space, evaluation))
  }
}

function spanCountsOf({ labels, unlearned }: LabelSpace, evaluation: Evaluation): Int32Array {
  const { predictions, actual, starts } = evaluation
  const tags = tagsOf([...labels, ...(unlearned?.names ?? [])]) ?? tagsOf(labels) ?? []
  return spanCounts(predictions, actual, starts, tags)
}

/** The 95 % percentile interval of the score over bootstrap samples of the examples (Efron). */
export function confidenceInterval(
  metric: Metric,
  space: LabelSpace,
  evaluation: Evaluation,
  random: Random,
): readonly [number, number] {
  const examples = evaluation.starts.length - 1
  const score = sampleScorer(metric, space, evaluation)
  const scores = Float64Array.from({ length: sampleCount }, () =>
    score(Int32Array.from({ length: examples }, () => random.below(examples))),
  ).sort()
  return [
    scores[Math.floor(0.025 * sampleCount)] ?? Number.NaN,
    scores[Math.ceil(0.975 * sampleCount) - 1] ?? Number.NaN,
  ]
}

const sampleCount = 1000

/** Returns a function that scores a sample of the examples, in which an example may occur several times. */
function sampleScorer(metric: Metric, space: LabelSpace, evaluation: Evaluation): (picks: Int32Array) => number {
  const { width } = problemTraits[space.problem]
  if (metric !== 'span_f1') return (picks) => scoreOf(metric, space, resample(evaluation, picks, width(space)))
  const counts = spanCountsOf(space, evaluation)
  return (picks) => spanF1(counts, picks)
}

function resample({ predictions, actual, starts }: Evaluation, picks: Int32Array, width: number): Evaluation {
  const ends = new Int32Array(picks.length + 1)
  for (const [at, pick] of picks.entries())
    ends[at + 1] = (ends[at] ?? 0) + (starts[pick + 1] ?? 0) - (starts[pick] ?? 0)
  const draw = (values: Float32Array) => {
    const picked = new Float32Array((ends[picks.length] ?? 0) * width)
    for (const [at, pick] of picks.entries()) {
      const [from, to] = [(starts[pick] ?? 0) * width, (starts[pick + 1] ?? 0) * width]
      for (let i = from, into = (ends[at] ?? 0) * width; i < to; i++, into++) picked[into] = values[i] ?? 0
    }
    return picked
  }
  return { predictions: draw(predictions), actual: draw(actual), starts: ends }
}

/** Mean over labels of the F1 of "the label applies". Labels that neither occur nor are predicted are left out. */
function meanLabelF1(predicted: Float32Array, actual: Float32Array, space: LabelSpace): number {
  const labels = outputCount(space)
  let sum = 0
  // A label that was not learned is never predicted, so that its F1 is 0.
  let counted = labelCount(space) - labels
  for (let label = 0; label < labels; label++) {
    let both = 0
    let total = 0
    for (let at = label; at < actual.length; at += labels) {
      const claimed = predicted[at] ?? 0
      const present = actual[at] ?? 0
      both += claimed * present
      total += claimed + present
    }
    if (total === 0) continue
    sum += (2 * both) / total
    counted++
  }
  return counted === 0 ? 0 : sum / counted
}
