// Probabilities of predictions from the outputs of a task: its logits, which are calibrated.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import type { Evaluation } from '../learn/evaluation.js'

/** An evaluation with the outputs that its predictions come from, [N, C]; NaN for words without a prediction. */
export interface ScoredEvaluation extends Evaluation {
  readonly outputs: Float32Array
}

/**
 * The probability of each predicted class, [N], or the probability that each label of a multi-label classification
 * applies, [N, C]. NaN where there is no prediction. Undefined for numbers, which have no probabilities.
 */
export function confidencesOf(
  space: LabelSpace,
  { outputs, predictions }: Pick<ScoredEvaluation, 'outputs' | 'predictions'>,
): Float32Array | undefined {
  const C = outputCount(space)
  switch (space.problem) {
    case 'single_label_classification':
    case 'token_classification':
      return Float32Array.from(predictions, (label, at) => softmaxAt(outputs.subarray(at * C, (at + 1) * C), label))
    case 'multi_label_classification':
      return outputs.map((output) => 1 / (1 + Math.exp(-output)))
    case 'regression':
    case 'feature_extraction':
      return undefined
  }
}

/** The softmax of an output; NaN for −1. */
function softmaxAt(outputs: Float32Array, label: number): number {
  const output = outputs[label] ?? Number.NaN
  return 1 / outputs.reduce((sum, other) => sum + Math.exp(other - output), 0)
}
