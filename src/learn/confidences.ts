// Probabilities of predictions from the outputs of a task: its logits, which are calibrated.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import { sigmoid } from './calibration.js'
import type { Evaluation, Values } from './evaluated-examples.js'

/**
 * The probability of each predicted class, [N], or the probability that each label of a multi-label classification
 * applies, [N, C]. NaN where there is no prediction. Undefined for numbers, which have no probabilities.
 */
export function confidencesOf(
  space: LabelSpace,
  { outputs, predictions }: Pick<Evaluation, 'outputs' | 'predictions'>,
): Float64Array | undefined {
  const C = outputCount(space)
  switch (space.problem) {
    case 'single_label_classification':
    case 'token_classification':
      return Float64Array.from(predictions, (label, at) => softmaxAt(outputs.subarray(at * C, (at + 1) * C), label))
    case 'multi_label_classification':
      return Float64Array.from(outputs, sigmoid)
    case 'regression':
    case 'feature_extraction':
      return undefined
  }
}

/** The softmax of an output; NaN for −1. */
function softmaxAt(outputs: Values, label: number): number {
  const output = outputs[label] ?? Number.NaN
  let sum = 0
  for (const other of outputs) sum += Math.exp(other - output)
  return 1 / sum
}
