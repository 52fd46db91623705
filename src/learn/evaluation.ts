// How good a task is on rows that it was not learned from.

import { tagsOf } from '../formats/iob.js'
import { Problem } from '../problem.js'
import { batchesByTokens } from './batches.js'
import { type EncodedExample, encodedExamples, labelStarts, type Subset, targetsOf } from './example-set.js'
import { type LabelSpace, outputCount } from './label-space.js'
import { accuracy, f1, type Metric, macroF1, matthews, pearson, spanCounts, spanF1, spearman } from './metrics.js'
import { problemTraits, type Unit } from './problem-traits.js'
import type { Random } from './random.js'
import type { TaskModel, Trainer } from './trainer.js'
import { noToken } from './word-table.js'

/** The metric that is wanted, or the default. @throws Problem `invalid_setting` if it does not go with the labels */
export function metricFor(space: LabelSpace, wanted?: Metric): Metric {
  const metrics = problemTraits[space.problem].metrics(space)
  if (wanted === undefined) return metrics[0]
  if (metrics.includes(wanted)) return wanted
  const untagged = space.problem === 'token_classification' ? ' whose labels are not O, B- and I-' : ''
  throw new Problem(
    'invalid_setting',
    `metric "${wanted}" does not go with a ${space.problem}${wanted === 'span_f1' ? untagged : ''}; ` +
      `expected ${metrics.join(' | ')}`,
  )
}

/** Predictions of some rows beside what is true of them. */
export interface Evaluation {
  /** [units, width] each. A class of −1 is none: of a word that was cut off. */
  readonly predictions: Float32Array
  readonly actual: Float32Array
  /** Where the units of each row begin, and where the last ones end: [rows + 1]. */
  readonly starts: Int32Array
}

/** How a task does on the rows of a part. */
export async function evaluateSubset(
  learner: Trainer,
  task: TaskModel,
  space: LabelSpace,
  part: Subset,
): Promise<Evaluation> {
  const outputs = await inOrder(learner, part, outputCount(space), (rows) => learner.outputs(rows, task))
  return evaluationOf(outputs, space, part)
}

/** @param outputs [units, C] of the rows of a part, in their order; those of words without a token are overwritten */
export function evaluationOf(outputs: Float32Array, space: LabelSpace, part: Subset): Evaluation {
  const { words } = part.set
  const C = outputCount(space)
  const starts = labelStarts(part)
  if (words)
    for (const [at, row] of part.examples.entries())
      for (const [word, token] of words.tokens(row).entries()) {
        const unit = (starts[at] ?? 0) + word
        if (token === noToken) outputs.fill(Number.NaN, unit * C, (unit + 1) * C)
      }
  return { predictions: problemTraits[space.problem].predictions(space, outputs), actual: targetsOf(part), starts }
}

/** What a head sees of the rows of a part in their order, [units, H]. */
export const headInputs = (
  bare: Trainer,
  part: Subset,
  unit: Exclude<Unit, 'pair'>,
  onRows?: OnExamplesDone,
): Promise<Float32Array> =>
  inOrder(bare, part, bare.backbone.dims.hiddenSize, (rows) => bare.vectors(rows, unit), onRows)

/** Told how many rows of a part are done. */
export type OnExamplesDone = (done: number, all: number) => void

/** @param run gives [units, width] of a batch */
async function inOrder(
  { maxRunTokens: tokensTogether }: Trainer,
  part: Subset,
  width: number,
  run: (rows: readonly EncodedExample[]) => Promise<Float32Array>,
  onRows: OnExamplesDone = () => {},
): Promise<Float32Array> {
  const { set: data, examples: rows } = part
  const places = new Map(Array.from(rows, (row, at) => [row, at]))
  const starts = labelStarts(part)
  const all = new Float32Array((starts[rows.length] ?? 0) * width)
  let done = 0
  for (const batch of batchesByTokens(part, tokensTogether)) {
    const found = await run(encodedExamples({ set: data, examples: batch }))
    let from = 0
    for (const row of batch) {
      const at = places.get(row) ?? 0
      const [start = 0, end = 0] = starts.subarray(at, at + 2)
      const to = from + (end - start) * width
      all.set(found.subarray(from, to), start * width)
      from = to
    }
    done += batch.length
    onRows(done, rows.length)
  }
  return all
}

/** @param metric one that goes with the space */
export function scoreOf(metric: Metric, space: LabelSpace, judged: Evaluation): number {
  const { predictions, actual } = judged
  const C = outputCount(space)
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
        ? labelwiseF1(predictions, actual, C)
        : macroF1(predictions, actual, C)
    case 'accuracy_and_f1':
      return (accuracy(predictions, actual) + f1(predictions, actual, C)) / 2
    case 'span_f1':
      return spanF1(spanCountsOf(space, judged))
  }
}

const spanCountsOf = ({ labels }: LabelSpace, { predictions, actual, starts }: Evaluation): Int32Array =>
  spanCounts(predictions, actual, starts, tagsOf(labels) ?? [])

/** The middle 95 % of the scores of samples drawn from the rows with replacement (Efron's percentile interval). */
export function confidenceInterval(
  metric: Metric,
  space: LabelSpace,
  judged: Evaluation,
  random: Random,
): readonly [number, number] {
  const rows = judged.starts.length - 1
  const score = sampleScorer(metric, space, judged)
  const scores = Float64Array.from({ length: sampleCount }, () =>
    score(Int32Array.from({ length: rows }, () => random.below(rows))),
  ).sort()
  return [
    scores[Math.floor(0.025 * sampleCount)] ?? Number.NaN,
    scores[Math.ceil(0.975 * sampleCount) - 1] ?? Number.NaN,
  ]
}

const sampleCount = 1000

/** Scores some of the rows, again and again if they are picked so. */
function sampleScorer(metric: Metric, space: LabelSpace, judged: Evaluation): (picks: Int32Array) => number {
  const { width } = problemTraits[space.problem]
  if (metric !== 'span_f1') return (picks) => scoreOf(metric, space, resample(judged, picks, width(space)))
  const counts = spanCountsOf(space, judged)
  return (picks) => spanF1(counts, picks)
}

function resample({ predictions, actual, starts }: Evaluation, picks: Int32Array, width: number): Evaluation {
  const ends = new Int32Array(picks.length + 1)
  for (const [at, row] of picks.entries()) ends[at + 1] = (ends[at] ?? 0) + (starts[row + 1] ?? 0) - (starts[row] ?? 0)
  const draw = (values: Float32Array) => {
    const picked = new Float32Array((ends[picks.length] ?? 0) * width)
    for (const [at, row] of picks.entries()) {
      const [from, to] = [(starts[row] ?? 0) * width, (starts[row + 1] ?? 0) * width]
      for (let i = from, into = (ends[at] ?? 0) * width; i < to; i++, into++) picked[into] = values[i] ?? 0
    }
    return picked
  }
  return { predictions: draw(predictions), actual: draw(actual), starts: ends }
}

/** Mean over labels of the F1 of "the label applies". */
function labelwiseF1(predicted: Float32Array, actual: Float32Array, labels: number): number {
  let sum = 0
  let counted = 0
  for (let label = 0; label < labels; label++) {
    let both = 0
    let either = 0
    for (let at = label; at < actual.length; at += labels) {
      const claimed = predicted[at] ?? 0
      const present = actual[at] ?? 0
      both += claimed * present
      either += claimed + present
    }
    if (either === 0) continue
    sum += (2 * both) / either
    counted++
  }
  return counted === 0 ? 0 : sum / counted
}
