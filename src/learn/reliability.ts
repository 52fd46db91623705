// How well probabilities agree with how often predictions are right: the reliability diagram (DeGroot and Fienberg 1983) and
// the expected calibration error.

import type { LabelSpace } from '../data/label-space.js'
import { confidencesOf } from './confidences.js'
import type { Evaluation } from './evaluated-examples.js'

export interface ReliabilityBin {
  /** Confidences from `from`, inclusive, to `to`, exclusive; the last bin includes 1. */
  readonly from: number
  readonly to: number
  readonly count: number
  /** Mean confidence, and the share of correct predictions. */
  readonly confidence: number
  readonly accuracy: number
}

export interface Reliability {
  /** Expected calibration error: the mean distance between confidence and accuracy over the bins (Guo et al. 2017). */
  readonly error: number
  /** Ten bins of equal width, without empty ones. */
  readonly bins: readonly ReliabilityBin[]
}

const binCount = 10

/**
 * Of the predicted classes. For a multi-label classification, of all labels: it compares the probability that a label
 * applies with how often it does. Undefined for numbers, and if nothing has a prediction.
 */
export function reliabilityOf(space: LabelSpace, evaluation: Evaluation): Reliability | undefined {
  const { predictions, actual } = evaluation
  const all = confidencesOf(space, evaluation)
  if (all === undefined) return undefined
  const isRight = (at: number) =>
    space.problem === 'multi_label_classification' ? actual[at] === 1 : predictions[at] === actual[at]
  const correct = all.map((_, at) => (isRight(at) ? 1 : 0)).filter((_, at) => !Number.isNaN(all[at]))
  const confidences = all.filter((confidence) => !Number.isNaN(confidence))
  if (confidences.length === 0) return undefined
  return compareInBins(confidences, correct)
}

/**
 * @param confidences of the predicted classes
 * @param correct 1 where the prediction is right
 */
export function compareInBins(confidences: ArrayLike<number>, correct: ArrayLike<number>): Reliability {
  const sums = Array.from({ length: binCount }, (_, at) => ({
    from: at / binCount,
    to: (at + 1) / binCount,
    count: 0,
    confidence: 0,
    accuracy: 0,
  }))
  for (let at = 0; at < confidences.length; at++) {
    const confidence = confidences[at] ?? 0
    const bin = sums[Math.min(binCount - 1, Math.floor(confidence * binCount))]
    if (bin === undefined) continue
    bin.count++
    bin.confidence += confidence
    bin.accuracy += correct[at] ?? 0
  }
  const distance = sums.reduce((sum, { confidence, accuracy }) => sum + Math.abs(confidence - accuracy), 0)
  const bins = sums
    .filter(({ count }) => count > 0)
    .map((bin) => ({ ...bin, confidence: bin.confidence / bin.count, accuracy: bin.accuracy / bin.count }))
  return { error: distance / confidences.length, bins }
}
