// The metrics of predictions as functions of arrays. They equal those of scikit-learn, SciPy and seqeval.
// metric-table.ts says what each metric applies to.

import { type Entity, entitiesOf, type Tags } from '../formats/iob.js'

export const metricNames = [
  'accuracy',
  'macro_f1',
  'micro_f1',
  'average_precision',
  'accuracy_and_f1',
  'matthews_correlation',
  'r2',
  'rmse',
  'mae',
  'pearson',
  'spearman',
  'pearson_and_spearman',
  'span_f1',
] as const
export type Metric = (typeof metricNames)[number]

/** The class of each example or word as a label index; −1 means no prediction. */
export type Classes = ArrayLike<number>

/** Share of correct predictions. */
export function accuracy(predicted: Classes, actual: Classes): number {
  let right = 0
  for (let i = 0; i < actual.length; i++) if (predicted[i] === actual[i]) right++
  return right / actual.length
}

/** [actual, predicted] counts, row-major `labels`². It leaves out what has no prediction, or a label that is not known. */
export function confusion(predicted: Classes, actual: Classes, labels: number): Int32Array {
  const counts = new Int32Array(labels * labels)
  for (let i = 0; i < actual.length; i++) {
    const [a, p] = [actual[i] ?? -1, predicted[i] ?? -1]
    if (!isLabel(a, labels) || !isLabel(p, labels)) continue
    const cell = a * labels + p
    counts[cell] = (counts[cell] ?? 0) + 1
  }
  return counts
}

const isLabel = (index: number, labels: number): boolean => index >= 0 && index < labels

/** How often each label was predicted, occurs, and was predicted correctly. */
export interface LabelCounts {
  readonly correct: Float64Array
  readonly predicted: Float64Array
  readonly actual: Float64Array
}

const noCounts = (length: number): LabelCounts => ({
  correct: new Float64Array(length),
  predicted: new Float64Array(length),
  actual: new Float64Array(length),
})

const increment = (counts: Float64Array, at: number) => {
  counts[at] = (counts[at] ?? 0) + 1
}

/** The last element of each array counts what has no prediction, or a label that is not known. */
export function classCounts(predicted: Classes, actual: Classes, labels: number): LabelCounts {
  const counts = noCounts(labels + 1)
  const place = (index: number) => (isLabel(index, labels) ? index : labels)
  for (let i = 0; i < actual.length; i++) {
    const [a, p] = [actual[i] ?? -1, predicted[i] ?? -1]
    increment(counts.actual, place(a))
    increment(counts.predicted, place(p))
    if (a === p && isLabel(a, labels)) increment(counts.correct, a)
  }
  return counts
}

const total = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0)
const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0)

/** Mean F1 over the labels that occur or are predicted. */
export function macroF1(predicted: Classes, actual: Classes, labels: number): number {
  const { correct, predicted: claimed, actual: present } = classCounts(predicted, actual, labels)
  let [sum, count] = [0, 0]
  for (let label = 0; label < labels; label++) {
    const both = (claimed[label] ?? 0) + (present[label] ?? 0)
    if (both === 0) continue
    sum += (2 * (correct[label] ?? 0)) / both
    count++
  }
  return count === 0 ? 0 : sum / count
}

/** F1 of the second of two labels, as in GLUE; for more labels the mean over labels. */
export function f1(predicted: Classes, actual: Classes, labels: number): number {
  if (labels !== 2) return macroF1(predicted, actual, labels)
  const [, falsely = 0, missed = 0, hits = 0] = confusion(predicted, actual, 2)
  return hits === 0 ? 0 : (2 * hits) / (2 * hits + falsely + missed)
}

/**
 * The entities of each text: predicted, actual and correct ones. An entity is correct if its type and both ends match, as
 * in the evaluation of CoNLL-2003 (conlleval).
 * @param starts index of the first word of each text, and the number of words at the end
 * @param tags the tag of each label; a word without a prediction is outside of entities
 */
function* comparedEntities(predicted: Classes, actual: Classes, starts: ArrayLike<number>, tags: Tags) {
  for (let text = 0; text + 1 < starts.length; text++) {
    const [start = 0, end = 0] = [starts[text], starts[text + 1]]
    const entities = (labels: Classes) =>
      entitiesOf(Array.from({ length: end - start }, (_, word) => tags[labels[start + word] ?? -1]))
    const [found, present] = [entities(predicted), entities(actual)]
    const actualAt = new Map(present.map((entity) => [entity.first, entity]))
    const correct = found.filter(
      ({ first, end, type }) => actualAt.get(first)?.end === end && actualAt.get(first)?.type === type,
    )
    yield { predicted: found, actual: present, correct }
  }
}

/** Counts of entities in each text, [texts, 3]: predicted, actual and correct. The parameters are of {@link comparedEntities}. */
export function spanCounts(predicted: Classes, actual: Classes, starts: ArrayLike<number>, tags: Tags): Int32Array {
  const texts = comparedEntities(predicted, actual, starts, tags)
  return Int32Array.from(
    Array.from(texts, ({ predicted, actual, correct }) => [predicted.length, actual.length, correct.length]).flat(),
  )
}

/** Counts of the entities of each type. The other parameters are of {@link comparedEntities}. */
export function entityCounts(
  predicted: Classes,
  actual: Classes,
  starts: ArrayLike<number>,
  tags: Tags,
  types: readonly string[],
): LabelCounts {
  const counts = noCounts(types.length)
  const placeOf = new Map(types.map((type, at) => [type, at]))
  const add = (to: Float64Array, entities: readonly Entity[]) => {
    for (const { type } of entities) increment(to, placeOf.get(type) ?? -1)
  }
  for (const entities of comparedEntities(predicted, actual, starts, tags)) {
    add(counts.predicted, entities.predicted)
    add(counts.actual, entities.actual)
    add(counts.correct, entities.correct)
  }
  return counts
}

/** F1 of the entities of all given texts together; 0 if no entity is correct. */
export function spanF1(counts: Int32Array, texts: Iterable<number> = Array(counts.length / 3).keys()): number {
  let [found, present, correct] = [0, 0, 0]
  for (const text of texts) {
    found += counts[3 * text] ?? 0
    present += counts[3 * text + 1] ?? 0
    correct += counts[3 * text + 2] ?? 0
  }
  return correct === 0 ? 0 : (2 * correct) / (found + present)
}

/** Matthews' correlation coefficient for any number of labels (Gorodkin 2004); 0 if it is undefined. */
export function matthews(predicted: Classes, actual: Classes, labels: number): number {
  const { correct, predicted: claimed, actual: present } = classCounts(predicted, actual, labels)
  const count = actual.length
  const covariance = total(correct) * count - dot(claimed, present)
  const spread = (count * count - dot(claimed, claimed)) * (count * count - dot(present, present))
  return spread === 0 ? 0 : covariance / Math.sqrt(spread)
}

/** Whether each label applies to each example: 0 or 1, [N, labels]. */
export type LabelSets = ArrayLike<number>

export function setCounts(predicted: LabelSets, actual: LabelSets, labels: number): LabelCounts {
  const counts = noCounts(labels)
  for (let label = 0; label < labels; label++) {
    let both = 0
    let claimed = 0
    let present = 0
    for (let at = label; at < actual.length; at += labels) {
      const claim = predicted[at] ?? 0
      const truth = actual[at] ?? 0
      both += claim * truth
      claimed += claim
      present += truth
    }
    counts.correct[label] = both
    counts.predicted[label] = claimed
    counts.actual[label] = present
  }
  return counts
}

/** Mean over all labels of the F1 of "the label applies"; 0 for a label that neither occurs nor is predicted. */
export function labelMacroF1(predicted: LabelSets, actual: LabelSets, labels: number): number {
  const counts = setCounts(predicted, actual, labels)
  let sum = 0
  for (const [label, correct] of counts.correct.entries())
    if (correct > 0) sum += (2 * correct) / ((counts.predicted[label] ?? 0) + (counts.actual[label] ?? 0))
  return sum / labels
}

/** F1 of all decisions about all labels together. */
export const labelMicroF1 = (predicted: LabelSets, actual: LabelSets): number => labelMacroF1(predicted, actual, 1)

/** Mean over all labels of the average precision; 0 for a label that does not occur. @param outputs [N, labels] */
export function averagePrecision(outputs: ArrayLike<number>, actual: LabelSets, labels: number): number {
  return averagePrecisionScorer(outputs, actual, labels)(new Float64Array(actual.length / labels).fill(1))
}

/** Returns a function that computes the average precision if each example occurs so many times. It sorts only once. */
export function averagePrecisionScorer(
  outputs: ArrayLike<number>,
  actual: LabelSets,
  labels: number,
): (times: ArrayLike<number>) => number {
  const rows = Int32Array.from({ length: actual.length / labels }, (_, row) => row)
  const output = (row: number, label: number) => outputs[row * labels + label] ?? Number.NaN
  const orders = Array.from({ length: labels }, (_, label) =>
    rows.slice().sort((a, b) => output(b, label) - output(a, label)),
  )
  return (times) => {
    let sum = 0
    for (const [label, order] of orders.entries()) {
      let [count, hits, hitsBefore, precisions] = [0, 0, 0, 0]
      for (const [at, row] of order.entries()) {
        const own = times[row] ?? 0
        count += own
        hits += own * (actual[row * labels + label] ?? 0)
        const next = order[at + 1]
        // Examples with equal outputs count together.
        if (hits === hitsBefore || (next !== undefined && output(next, label) === output(row, label))) continue
        precisions += ((hits - hitsBefore) * hits) / count
        hitsBefore = hits
      }
      sum += hits === 0 ? 0 : precisions / hits
    }
    return sum / labels
  }
}

/** R², the share of the variance that the predictions explain. If all values are equal: 1 if all are right, else 0. */
export function r2(predicted: ArrayLike<number>, actual: ArrayLike<number>): number {
  const a = centred(actual)
  const [errors, spread] = [meanOfErrors(predicted, actual, (error) => error * error) * actual.length, dot(a, a)]
  return spread === 0 ? Number(errors === 0) : 1 - errors / spread
}

/** The root of the mean squared error. */
export const rmse = (predicted: ArrayLike<number>, actual: ArrayLike<number>): number =>
  Math.sqrt(meanOfErrors(predicted, actual, (error) => error * error))

/** The mean absolute error. */
export const mae = (predicted: ArrayLike<number>, actual: ArrayLike<number>): number =>
  meanOfErrors(predicted, actual, Math.abs)

function meanOfErrors(
  predicted: ArrayLike<number>,
  actual: ArrayLike<number>,
  cost: (error: number) => number,
): number {
  let sum = 0
  for (let i = 0; i < actual.length; i++) sum += cost((predicted[i] ?? Number.NaN) - (actual[i] ?? Number.NaN))
  return sum / actual.length
}

/** Pearson's correlation; 0 if one side is constant. */
export function pearson(predicted: ArrayLike<number>, actual: ArrayLike<number>): number {
  const p = centred(predicted)
  const a = centred(actual)
  const spread = Math.sqrt(dot(p, p) * dot(a, a))
  return spread === 0 ? 0 : dot(p, a) / spread
}

/** Spearman's correlation: Pearson's correlation of the ranks; equal values share the mean of their ranks. */
export const spearman = (predicted: ArrayLike<number>, actual: ArrayLike<number>): number =>
  pearson(ranks(predicted), ranks(actual))

/** The values minus their mean. Without the first shift, equal values such as 0.1 would not become exactly 0. */
function centred(values: ArrayLike<number>): Float64Array {
  const shifted = Float64Array.from(values, (value) => value - (values[0] ?? 0))
  const mean = total(shifted) / shifted.length
  return shifted.map((value) => value - mean)
}

function ranks(values: ArrayLike<number>): Float64Array {
  const at = (index: number) => values[index] ?? Number.NaN
  const order = Array.from({ length: values.length }, (_, i) => i).sort((a, b) => at(a) - at(b))
  const result = new Float64Array(values.length)
  for (let first = 0; first < order.length; ) {
    let end = first + 1
    while (end < order.length && at(order[end] ?? 0) === at(order[first] ?? 0)) end++
    for (const index of order.slice(first, end)) result[index] = (first + end - 1) / 2
    first = end
  }
  return result
}
