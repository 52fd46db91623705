// The cost of a prediction, known before anything is computed: multiply-adds of the head, values and bytes of the response.

import type { TaskFile } from '../petl/task-file.js'
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
/** One number of a vector. */
const bytesOfNumber = 24
/** JSON around the values of a text or a word. */
const bytesAround = 200

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

/**
 * The cost of a prediction for one text.
 * @param units how often the head is applied: number of words for a token classification, else 1
 * @param hiddenSize size of a vector
 */
export function predictionCost(
  { file, labelBytes }: { readonly file: TaskFile; readonly labelBytes: LabelBytes },
  units: number,
  topK: number | undefined,
  hiddenSize: number,
): PredictionCost {
  switch (file.problemType) {
    case 'feature_extraction': {
      const { inputs, outputs } = file.projection ?? { inputs: 0, outputs: hiddenSize }
      return { multiplyAdds: inputs * outputs, values: outputs, bytes: bytesAround + bytesOfNumber * outputs }
    }
    case 'regression':
      return { multiplyAdds: multiplyAddsOf(file.head), values: 1, bytes: bytesAround }
    case 'single_label_classification':
    case 'multi_label_classification':
    case 'token_classification': {
      const { all, longest } = labelBytes
      const listed = Math.min(topK ?? file.labels.length, file.labels.length)
      // All labels of a multi-label task can reach its threshold; then `labels` lists them again.
      const reaching = file.problemType === 'multi_label_classification' ? all + file.labels.length : 0
      const bytes = bytesAround + longest + Math.min(all, listed * longest) + bytesOfScore * listed + reaching
      // Every score is computed, even if the response does not contain it.
      const values = file.labels.length
      const multiplyAdds = multiplyAddsOf(file.head) + multiplyAddsOfValue * values
      return { multiplyAdds: units * multiplyAdds, values: units * values, bytes: units * bytes }
    }
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
