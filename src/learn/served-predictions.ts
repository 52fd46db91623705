// Recovers the outputs of a task from its predictions, so that a task is evaluated in the way that it is served.

import type { Text } from '../backbones/tokenizer.js'
import type { Example } from '../data/examples.js'
import { type LabelSpace, outputCount } from '../data/label-space.js'
import type { Span } from '../formats/word-rule.js'
import { problemTraits } from './problem-traits.js'
import { withServedWords } from './word-labels.js'
import { wordsBeginningIn } from './word-spans.js'

interface Scores {
  /** Raw scores of all labels, in the order of the labels. */
  readonly scores: readonly { readonly score: number }[]
}

/** A prediction with raw scores. Its fields depend on the problem type of the task. */
export interface ServedPrediction {
  readonly score?: number
  readonly scores?: Scores['scores']
  readonly words?: readonly (Scores & Span)[]
  readonly embedding?: readonly number[]
}

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
export function outputsOfPredictions(
  space: LabelSpace,
  { words = [] }: Example,
  [prediction = {}, second = {}]: readonly ServedPrediction[],
): readonly number[] {
  switch (space.problem) {
    case 'single_label_classification':
    case 'multi_label_classification':
      return rawScores(prediction) ?? []
    case 'regression':
      return [prediction.score ?? Number.NaN]
    case 'token_classification': {
      const predicted = prediction.words ?? []
      const none = new Array<number>(outputCount(space)).fill(Number.NaN)
      return wordsBeginningIn(words, predicted).flatMap((at) => rawScores(predicted[at]) ?? none)
    }
    case 'feature_extraction':
      return [cosine(prediction.embedding ?? [], second.embedding ?? [])]
  }
}

const rawScores = (prediction: Partial<Scores> | undefined) => prediction?.scores?.map(({ score }) => score)

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}
