// The cost of a prediction, known before anything is computed: multiply-adds of the head, values and bytes of the response.

import type { Head } from '../petl/task.js'
import type { Steps } from '../steps.js'
import { multiplyAddsOf } from './heads.js'

export interface PredictionCost {
  /** Multiply-adds of heads on the host, including probabilities and ranking. */
  readonly multiplyAdds: number
  /** Scores of labels and numbers of vectors in the response. */
  readonly values: number
  /** Upper bound of its JSON, in bytes. */
  readonly bytes: number
}

/** Sizes of the labels of a task in JSON, in bytes. */
export interface LabelBytes {
  readonly all: number
  readonly longest: number
}

/** Multiply-adds that take as long as the probability and the ranking of one output. */
const multiplyAddsOfValue = 50
/** `{"label":,"score":0.12345678901234567},` */
const bytesOfScore = 48
/** JSON around the values of a text or a word. */
export const bytesAround = 200

const labelsAtOnce = 2_000

/** Counts the bytes of labels, in steps because there can be many. */
export function* labelBytesInSteps(labels: readonly string[]): Steps<LabelBytes> {
  let [all, longest] = [0, 0]
  for (const [at, label] of labels.entries()) {
    const bytes = Buffer.byteLength(JSON.stringify(label))
    all += bytes
    longest = Math.max(longest, bytes)
    if (at % labelsAtOnce === labelsAtOnce - 1) yield
  }
  return { all, longest }
}

/** The cost of a head with a score for each label. */
export function classificationCost(
  { head, labels }: { readonly head: Head; readonly labels: readonly string[] },
  { all, longest }: LabelBytes,
  topK: number | undefined,
): PredictionCost {
  const listed = Math.min(topK ?? labels.length, labels.length)
  return {
    // Every score is computed, even if the response does not contain it.
    multiplyAdds: multiplyAddsOf(head) + multiplyAddsOfValue * labels.length,
    values: labels.length,
    bytes: bytesAround + longest + Math.min(all, listed * longest) + bytesOfScore * listed,
  }
}

export const sumOfCosts = (costs: readonly PredictionCost[]): PredictionCost =>
  costs.reduce(
    (a, b) => ({
      multiplyAdds: a.multiplyAdds + b.multiplyAdds,
      values: a.values + b.values,
      bytes: a.bytes + b.bytes,
    }),
    { multiplyAdds: 0, values: 0, bytes: 0 },
  )

/** Work on the host that takes about as long as one token in the engine. */
const perToken = { multiplyAdds: 100_000, values: 250 } as const

/** The cost in tokens, for rate limits and fair queueing. It is 0 for small predictions, which most tasks make. */
export const tokensOfCost = ({ multiplyAdds, values }: PredictionCost): number =>
  Math.floor(multiplyAdds / perToken.multiplyAdds + values / perToken.values)

/** Whether the work takes well below 0.1 ms, so that it needs no slices. */
export const isSmall = ({ multiplyAdds, values }: PredictionCost): boolean => multiplyAdds <= 50_000 && values <= 200
