// What is known about each metric: how it is computed from an evaluation, and whether a larger value is better.
// problems/ says which metrics apply to which problem type.

import { type LabelSpace, labelCount, outputCount } from '../data/label-space.js'
import { tagsOf } from '../formats/iob.js'
import type { Evaluation } from './evaluated-examples.js'
import {
  accuracy,
  averagePrecision,
  averagePrecisionScorer,
  f1,
  labelMacroF1,
  labelMicroF1,
  type Metric,
  macroF1,
  mae,
  matthews,
  pearson,
  r2,
  rmse,
  spanCounts,
  spanF1,
  spearman,
} from './metrics.js'

export interface MetricTraits {
  readonly higherIsBetter: boolean
  /** The least and the largest value that it can have. That of a share is from 0, if everything is wrong, to 1. */
  readonly range: readonly [number, number]
  /** Returns a function that scores a sample of examples, in which an example may occur several times. It saves time. */
  readonly scorer?: (space: LabelSpace, evaluation: Evaluation) => (examples: Int32Array) => number
  readonly score: (space: LabelSpace, evaluation: Evaluation) => number
}

type ScoreNumbers = (predicted: ArrayLike<number>, actual: ArrayLike<number>) => number

const shareRange = [0, 1] as const
const correlationRange = [-1, 1] as const
const errorRange = [0, Number.POSITIVE_INFINITY] as const

const share = (score: MetricTraits['score']): MetricTraits => ({ higherIsBetter: true, range: shareRange, score })

const ofNumbers = (range: MetricTraits['range'], score: ScoreNumbers): MetricTraits => ({
  higherIsBetter: range !== errorRange,
  range,
  score: (_, { predictions, actual }) => score(predictions, actual),
})

function spanCountsOf({ labels, unlearned }: LabelSpace, { predictions, actual, starts }: Evaluation): Int32Array {
  const tags = tagsOf([...labels, ...(unlearned?.names ?? [])]) ?? tagsOf(labels) ?? []
  return spanCounts(predictions, actual, starts, tags)
}

/** A mean over the labels of the task as one over all labels that occur; those that were not learned count 0. */
const overAllLabels = (space: LabelSpace, mean: number): number => (mean * outputCount(space)) / labelCount(space)

export const metricTable: Readonly<Record<Metric, MetricTraits>> = {
  accuracy: share((_, { predictions, actual }) => accuracy(predictions, actual)),
  macro_f1: share((space, { predictions, actual }) =>
    space.problem === 'multi_label_classification'
      ? overAllLabels(space, labelMacroF1(predictions, actual, outputCount(space)))
      : macroF1(predictions, actual, labelCount(space)),
  ),
  micro_f1: share((_, { predictions, actual }) => labelMicroF1(predictions, actual)),
  average_precision: {
    ...share((space, { outputs, actual }) =>
      overAllLabels(space, averagePrecision(outputs, actual, outputCount(space))),
    ),
    scorer: (space, { outputs, actual, starts }) => {
      const score = averagePrecisionScorer(outputs, actual, outputCount(space))
      return (examples) => {
        const times = new Float64Array(starts.length - 1)
        for (const example of examples) times[example] = (times[example] ?? 0) + 1
        return overAllLabels(space, score(times))
      }
    },
  },
  accuracy_and_f1: share(
    (space, { predictions, actual }) =>
      (accuracy(predictions, actual) + f1(predictions, actual, labelCount(space))) / 2,
  ),
  matthews_correlation: {
    higherIsBetter: true,
    range: correlationRange,
    score: (space, { predictions, actual }) => matthews(predictions, actual, labelCount(space)),
  },
  r2: ofNumbers([Number.NEGATIVE_INFINITY, 1], r2),
  rmse: ofNumbers(errorRange, rmse),
  mae: ofNumbers(errorRange, mae),
  pearson: ofNumbers(correlationRange, pearson),
  spearman: ofNumbers(correlationRange, spearman),
  pearson_and_spearman: ofNumbers(
    correlationRange,
    (predicted, actual) => (pearson(predicted, actual) + spearman(predicted, actual)) / 2,
  ),
  span_f1: {
    ...share((space, evaluation) => spanF1(spanCountsOf(space, evaluation))),
    // The entities of a text are found once, not in every sample.
    scorer: (space, evaluation) => {
      const counts = spanCountsOf(space, evaluation)
      return (texts) => spanF1(counts, texts)
    },
  },
}

export const isShare = (metric: Metric): boolean => metricTable[metric].range === shareRange

/** The score, or its negative if smaller scores are better. */
export const merit = (metric: Metric, score: number): number => (metricTable[metric].higherIsBetter ? score : -score)
