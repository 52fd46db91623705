// What training and evaluation must know of a problem type: what has a label, how labels become targets of the loss, and how
// outputs become predictions for the metrics. Each file of this folder says it of one type; classes.ts and numbers.ts are
// what several types share. tasks/problems says what serving must know.

import type { Example } from '../../data/examples.js'
import type { LabelSpace } from '../../data/label-space.js'
import type { Span } from '../../formats/word-rule.js'
import type { Values } from '../evaluated-examples.js'
import type { Loss } from '../losses.js'
import type { Metric } from '../metrics.js'

interface Scores {
  /** Raw scores of all labels, in the order of the labels. */
  readonly scores: readonly { readonly score: number }[]
}

/** A prediction with raw scores. Its fields depend on the problem type of the task. */
export interface ServedPrediction extends Partial<Scores> {
  readonly score?: number
  readonly words?: readonly (Scores & Span)[]
  readonly embedding?: readonly number[]
}

/**
 * What has a label: a text (or a pair that is encoded as one sequence), each word of a text, or a pair whose two texts
 * are encoded separately and compared.
 */
export type Unit = 'text' | 'word' | 'pair'

export interface ProblemTraits {
  readonly unit: Unit
  readonly loss: Loss
  /** Numbers per target. */
  readonly width: (space: LabelSpace) => number
  /**
   * The targets of an example, [N, width] for its N labels.
   * @throws Problem `invalid_data` for a label that is not in the space
   */
  readonly targets: (space: LabelSpace, example: Example) => ArrayLike<number>
  /** Targets as the loss takes them, [N, C]. */
  readonly lossTargets: (space: LabelSpace, targets: Float32Array) => Float32Array
  /** The labels that targets stand for, [N, width]: indexes of classes, or numbers in the units of the labels. */
  readonly labelsOf: (space: LabelSpace, targets: Float32Array) => Values
  /** Predictions from outputs [N, C], in the form of labels: [N, width]. */
  readonly predictions: (space: LabelSpace, outputs: Values) => Values
  /**
   * The outputs of an example, [N, C] for its N labels, from predictions that were served with raw scores.
   * @param predictions of the text, or of each text of a pair
   */
  readonly servedOutputs: (
    space: LabelSpace,
    example: Example,
    predictions: readonly ServedPrediction[],
  ) => readonly number[]
  /**
   * The probability of each predicted class, [N], or the probability that each label applies, [N, C]. NaN where there is no
   * prediction. Undefined for numbers, which have no probabilities.
   */
  readonly confidences: (outputs: Values, predictions: Values, C: number) => Float64Array | undefined
  /** Metrics that apply, the default first. */
  readonly metrics: (space: LabelSpace) => readonly [Metric, ...Metric[]]
}
