// Recovers the outputs of a task from its predictions, so that a task is evaluated in the way that it is served.

import type { Text } from '../backbones/tokenizer.js'
import type { Example } from '../data/examples.js'
import type { LabelSpace } from '../data/label-space.js'
import { problemTraits } from './problem-traits.js'
import type { ServedPrediction } from './problems/learned-problem.js'
import { withServedWords } from './word-labels.js'

/** The inputs to predict for an example: one, or each text of a pair. */
export function textsToPredict({ problem }: LabelSpace, { text, textPair }: Example): readonly Text[] {
  if (problemTraits[problem].unit !== 'pair') return [{ text, ...(textPair !== undefined && { textPair }) }]
  return [{ text }, { text: textPair ?? '' }]
}

/**
 * The example with labels for what a server returns: if words have labels, for each returned word.
 * @param predictions those of the inputs of textsToPredict
 */
export const asServed = (
  space: LabelSpace,
  example: Example,
  [prediction = {}]: readonly ServedPrediction[],
): Example => withServedWords(space, example, prediction.words ?? [])

/**
 * The outputs for an example, [N, C] for its N labels.
 * @param example as asServed returns it
 * @param predictions those of the inputs of textsToPredict
 */
export const outputsOfPredictions = (
  space: LabelSpace,
  example: Example,
  predictions: readonly ServedPrediction[],
): readonly number[] => problemTraits[space.problem].servedOutputs(space, example, predictions)
