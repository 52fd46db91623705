// Outputs of a task as its answers tell them: how a task is judged that runs elsewhere, and as it is served.

import type { Text } from '../backbones/tokenizer.js'
import type { Example } from './examples.js'
import { type LabelSpace, outputCount } from './label-space.js'
import { problemTraits } from './problem-traits.js'
import { wordsBeginningIn } from './word-spans.js'

interface Scores {
  /** Of all labels in their order, as the head gives them. */
  readonly scores: readonly { readonly score: number }[]
}

/** An answer with raw scores; which fields it has depends on the task's problem type. */
export interface ServedPrediction {
  readonly score?: number
  readonly scores?: Scores['scores']
  readonly words?: readonly (Scores & { readonly start: number })[]
  readonly embedding?: readonly number[]
}

/** The texts to ask about for an example: one, or each of a pair. */
export function textsToPredict({ problem }: LabelSpace, { text, textPair }: Example): readonly Text[] {
  if (problemTraits[problem].unit !== 'pair') return [{ text, ...(textPair !== undefined && { textPair }) }]
  return [{ text }, { text: textPair ?? '' }]
}

/**
 * The outputs for an example, [units, C].
 * @param answers those to textsToAsk
 */
export function outputsOfPredictions(
  space: LabelSpace,
  { words = [] }: Example,
  [answer = {}, other = {}]: readonly ServedPrediction[],
): readonly number[] {
  switch (space.problem) {
    case 'single_label_classification':
    case 'multi_label_classification':
      return outputsIn(answer) ?? []
    case 'regression':
      return [answer.score ?? Number.NaN]
    case 'token_classification': {
      const found = answer.words ?? []
      const none = new Array<number>(outputCount(space)).fill(Number.NaN)
      return wordsBeginningIn(words, found).flatMap((at) => outputsIn(found[at]) ?? none)
    }
    case 'feature_extraction':
      return [cosine(answer.embedding ?? [], other.embedding ?? [])]
  }
}

const outputsIn = (answer: Partial<Scores> | undefined) => answer?.scores?.map(({ score }) => score)

function cosine(a: readonly number[], b: readonly number[]): number {
  const dot = (x: readonly number[], y: readonly number[]) => x.reduce((sum, value, i) => sum + value * (y[i] ?? 0), 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}
