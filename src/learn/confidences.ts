// Probabilities of predictions from the outputs of a task: its logits, which are calibrated.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import type { Evaluation } from './evaluated-examples.js'
import { problemTraits } from './problem-traits.js'

/**
 * The probability of each predicted class, [N], or the probability that each label of a multi-label classification
 * applies, [N, C]. NaN where there is no prediction. Undefined for numbers, which have no probabilities.
 */
export const confidencesOf = (
  space: LabelSpace,
  { outputs, predictions }: Pick<Evaluation, 'outputs' | 'predictions'>,
): Float64Array | undefined => problemTraits[space.problem].confidences(outputs, predictions, outputCount(space))
