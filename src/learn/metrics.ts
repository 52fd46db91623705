// The metrics of predictions: those of the GLUE tasks, and the F1 of named entities.

import { entitiesOf, type Tags } from '../formats/iob.js'

/** Each metric is one number by which epochs and runs are compared. Larger is better. */
export const metricNames = [
  'accuracy',
  'macro_f1',
  'accuracy_and_f1',
  'matthews_correlation',
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

/** [actual, predicted] counts, row-major `labels`²; what has no prediction is not counted. */
export function confusion(predicted: Classes, actual: Classes, labels: number): Int32Array {
  const counts = new Int32Array(labels * labels)
  for (let i = 0; i < actual.length; i++) {
    if ((predicted[i] ?? 0) < 0) continue
    const cell = (actual[i] ?? 0) * labels + (predicted[i] ?? 0)
    counts[cell] = (counts[cell] ?? 0) + 1
  }
  return counts
}

interface Margins {
  readonly hits: Float64Array
  readonly predicted: Float64Array
  readonly actual: Float64Array
}

function margins(counts: Int32Array, labels: number): Margins {
  const sums = { hits: new Float64Array(labels), predicted: new Float64Array(labels), actual: new Float64Array(labels) }
  for (const [cell, count] of counts.entries()) {
    const a = Math.floor(cell / labels)
    const p = cell % labels
    sums.actual[a] = (sums.actual[a] ?? 0) + count
    sums.predicted[p] = (sums.predicted[p] ?? 0) + count
    if (a === p) sums.hits[a] = count
  }
  return sums
}

const total = (values: Float64Array): number => values.reduce((sum, value) => sum + value, 0)
const dot = (a: Float64Array, b: Float64Array): number => a.reduce((sum, value, i) => sum + value * (b[i] ?? 0), 0)

/** Mean F1 over the labels that occur or are predicted. */
export function macroF1(predicted: Classes, actual: Classes, labels: number): number {
  const { hits, predicted: claimed, actual: present } = margins(confusion(predicted, actual, labels), labels)
  const each = [...hits].flatMap((hit, label) => {
    const both = (claimed[label] ?? 0) + (present[label] ?? 0)
    return both === 0 ? [] : [(2 * hit) / both]
  })
  return each.reduce((sum, f1) => sum + f1, 0) / each.length
}

/** F1 of the second of two labels, as in GLUE; for more labels the mean over labels. */
export function f1(predicted: Classes, actual: Classes, labels: number): number {
  if (labels !== 2) return macroF1(predicted, actual, labels)
  const [, falsely = 0, missed = 0, hits = 0] = confusion(predicted, actual, 2)
  return hits === 0 ? 0 : (2 * hits) / (2 * hits + falsely + missed)
}

/**
 * Counts of entities in each text, [texts, 3]: predicted, actual and correct. An entity is correct if its type and both
 * ends match, as in the evaluation of CoNLL-2003 (conlleval).
 * @param starts index of the first word of each text, and the number of words at the end
 * @param tags the tag of each label; a word without a prediction is outside of entities
 */
export function spanCounts(predicted: Classes, actual: Classes, starts: ArrayLike<number>, tags: Tags): Int32Array {
  const counts = new Int32Array(3 * (starts.length - 1))
  for (let text = 0; text + 1 < starts.length; text++) {
    const [start = 0, end = 0] = [starts[text], starts[text + 1]]
    const entities = (labels: Classes) =>
      entitiesOf(Array.from({ length: end - start }, (_, word) => tags[labels[start + word] ?? -1]))
    const actualAt = new Map(entities(actual).map((entity) => [entity.first, entity]))
    const found = entities(predicted)
    const correct = found.filter(
      ({ first, end, type }) => actualAt.get(first)?.end === end && actualAt.get(first)?.type === type,
    )
    counts.set([found.length, actualAt.size, correct.length], 3 * text)
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
  const { hits, predicted: claimed, actual: present } = margins(confusion(predicted, actual, labels), labels)
  const count = actual.length
  const covariance = total(hits) * count - dot(claimed, present)
  const spread = (count * count - dot(claimed, claimed)) * (count * count - dot(present, present))
  return spread === 0 ? 0 : covariance / Math.sqrt(spread)
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

function centred(values: ArrayLike<number>): Float64Array {
  const all = Float64Array.from(values)
  const mean = total(all) / all.length
  return all.map((value) => value - mean)
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
