// How sure a task is of what it predicts. Texts whose predictions are least sure are worth labelling (uncertainty sampling;
// Lewis and Gale 1994).

import { type Thresholds, thresholdOf } from '../petl/task.js'
import type { Steps } from '../steps.js'
import { firstOfLargest, mapped, type ScoreOptions, sigmoids, softmax } from './heads.js'

export interface Decision {
  /** Of a multi-label task, all labels that apply; of a token classification, the label of each word. */
  readonly label: string | readonly string[]
  /** Probability of the label. With several labels, that of the label or word that is least sure. */
  readonly score: number
  /** From 0, certain, to 1: a small change of the score would change the decision. */
  readonly uncertainty: number
  /** The words that have the labels. Only of a token classification. */
  readonly tokens?: readonly string[]
}

export interface DecisionOptions extends ScoreOptions {
  /** Receives what the task decided, if its problem type decides on labels. */
  readonly onDecision?: ((decision: Decision) => void) | undefined
}

/** One label of several. It is unsure if the second label is as probable (margin sampling; Scheffer et al. 2001). */
export function* decideOne(
  labels: readonly string[],
  logits: Float64Array,
  thresholds?: Float32Array,
): Steps<Decision> {
  const scores = yield* softmax(logits)
  const weighed = thresholds
    ? yield* softmax(yield* mapped(logits, (logit, c) => logit - Math.log(thresholds[c] ?? 1)))
    : scores
  const best = firstOfLargest(weighed)
  let second = 0
  for (let c = 0; c < weighed.length; c++) if (c !== best) second = Math.max(second, weighed[c] ?? 0)
  return {
    label: labels[best] ?? '',
    score: scores[best] ?? Number.NaN,
    uncertainty: 1 - ((weighed[best] ?? 0) - second),
  }
}

/**
 * Any number of labels. They are unsure if the probability of one is close to its threshold, relative to the farthest
 * that it could be.
 * @param reaching the labels that apply
 */
export function* decideEach(
  reaching: readonly string[],
  logits: Float64Array,
  thresholds: Thresholds,
): Steps<Decision> {
  const scores = yield* sigmoids(logits)
  const distances = yield* mapped(scores, (score, c) => {
    const threshold = thresholdOf(thresholds, c)
    const farthest = score < threshold ? threshold : 1 - threshold
    return farthest > 0 ? Math.abs(score - threshold) / farthest : 0
  })
  let closest = 0
  for (let c = 1; c < distances.length; c++) if ((distances[c] ?? 0) < (distances[closest] ?? 0)) closest = c
  return { label: reaching, score: scores[closest] ?? Number.NaN, uncertainty: 1 - (distances[closest] ?? 1) }
}

/** The labels of the words of a text. They are as unsure as the least sure word. */
export function decideWords(words: readonly { readonly text: string }[], decisions: readonly Decision[]): Decision {
  const score = decisions.reduce((least, decision) => Math.min(least, decision.score), 1)
  return {
    label: decisions.flatMap(({ label }) => label),
    score,
    uncertainty: 1 - score,
    tokens: words.map(({ text }) => text),
  }
}
