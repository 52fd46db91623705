// How good a task is on rows that it was not learned from.

import { Problem } from '../problem.js'
import { batchesByTokens } from './batches.js'
import type { Part } from './data-set.js'
import { type LabelSpace, outputsOf } from './labels.js'
import { type LearnedTask, type Learner, tokensTogether } from './learner.js'
import { accuracy, f1, type Metric, macroF1, matthews, pearson, spearman } from './metrics.js'
import type { Random } from './random.js'
import type { TokenSpan } from './token-table.js'

/** What is taken where no metric is named. */
const defaultMetric = ({ problem }: LabelSpace): Metric =>
  ({
    single_label_classification: 'accuracy',
    multi_label_classification: 'macro_f1',
    regression: 'pearson_and_spearman',
  })[problem] as Metric

/** The metric that is wanted, or the default. @throws Problem `invalid_setting` if it does not go with the labels */
export function metricFor(space: LabelSpace, wanted = defaultMetric(space)): Metric {
  if (metricsOf(space).includes(wanted)) return wanted
  throw new Problem(
    'invalid_setting',
    `metric "${wanted}" does not go with a ${space.problem}; expected ${metricsOf(space).join(' | ')}`,
  )
}

/** Metrics that a problem type can be measured by. */
function metricsOf({ problem }: LabelSpace): readonly Metric[] {
  switch (problem) {
    case 'single_label_classification':
      return ['accuracy', 'macro_f1', 'accuracy_and_f1', 'matthews_correlation']
    case 'multi_label_classification':
      return ['macro_f1']
    case 'regression':
      return ['pearson', 'spearman', 'pearson_and_spearman']
  }
}

/** Head outputs of the rows of a part in their order, [rows, C]. */
export const logitsOf = (learner: Learner, task: LearnedTask, part: Part, outputs: number): Promise<Float32Array> =>
  inOrder(part, outputs, async (rows) => (await learner.predict(rows, task)).logits)

/** Pooled vectors of the rows of a part in their order, [rows, H]. */
export const pooledRows = (bare: Learner, part: Part, onRows?: OnRows): Promise<Float32Array> =>
  inOrder(part, bare.backbone.config.hidden_size, async (rows) => (await bare.predict(rows)).pooled, onRows)

/** Told how many rows of a part are done. */
export type OnRows = (done: number, all: number) => void

async function inOrder(
  part: Part,
  width: number,
  run: (rows: readonly TokenSpan[]) => Promise<Float32Array>,
  onRows: OnRows = () => {},
): Promise<Float32Array> {
  const places = new Map(Array.from(part.rows, (row, at) => [row, at]))
  const all = new Float32Array(part.rows.length * width)
  let done = 0
  for (const batch of batchesByTokens(part, tokensTogether)) {
    const found = await run(Array.from(batch, (row) => part.data.tokens.span(row)))
    for (const [at, row] of batch.entries())
      all.set(found.subarray(at * width, (at + 1) * width), (places.get(row) ?? 0) * width)
    done += batch.length
    onRows(done, part.rows.length)
  }
  return all
}

/**
 * What head outputs [rows, C] say, as metrics take it: the class of the largest output of each row, or the outputs
 * themselves where several labels may apply or a number is predicted.
 */
export function predictionsOf(space: LabelSpace, logits: Float32Array): Float32Array {
  if (space.problem !== 'single_label_classification') return logits
  const C = space.labels.length
  return Float32Array.from({ length: logits.length / C }, (_, row) => {
    const own = logits.subarray(row * C, (row + 1) * C)
    return own.reduce((best, value, label) => (value > (own[best] ?? value) ? label : best), 0)
  })
}

/**
 * @param metric one of metricsOf(space)
 * @param actual targets of the rows, [rows, targetWidth]
 */
export function scoreOf(metric: Metric, space: LabelSpace, predictions: Float32Array, actual: Float32Array): number {
  const C = outputsOf(space)
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
  }
}

/**
 * The middle 95 % of the scores of samples drawn from the rows with replacement (Efron's percentile interval).
 * @param rows what predictions and targets have of each
 */
export function confidenceInterval(
  metric: Metric,
  space: LabelSpace,
  predictions: Float32Array,
  actual: Float32Array,
  rows: number,
  random: Random,
): readonly [number, number] {
  const draw = (values: Float32Array, picks: Int32Array) => {
    const width = values.length / rows
    const drawn = new Float32Array(values.length)
    for (const [at, row] of picks.entries())
      for (let i = 0; i < width; i++) drawn[at * width + i] = values[row * width + i] ?? 0
    return drawn
  }
  const scores = Float64Array.from({ length: samples }, () => {
    const picks = Int32Array.from({ length: rows }, () => random.below(rows))
    return scoreOf(metric, space, draw(predictions, picks), draw(actual, picks))
  }).sort()
  return [scores[Math.floor(0.025 * samples)] ?? Number.NaN, scores[Math.ceil(0.975 * samples) - 1] ?? Number.NaN]
}

const samples = 1000

/** Mean over labels of the F1 of "the label applies", which it does where its output is above 0. */
function labelwiseF1(logits: Float32Array, actual: Float32Array, labels: number): number {
  let sum = 0
  let counted = 0
  for (let label = 0; label < labels; label++) {
    let both = 0
    let either = 0
    for (let at = label; at < actual.length; at += labels) {
      const claimed = (logits[at] ?? 0) > 0 ? 1 : 0
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
