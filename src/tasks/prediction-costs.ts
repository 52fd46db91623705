// What an answer will cost, known before anything is computed: multiply-adds of the head, values, and bytes.

import type { Steps } from '../steps.js'
import { multiplyAddsOf } from './heads.js'
import type { Task } from './ready-tasks.js'

export interface PredictionCost {
  /** Of heads, on the host, with what becomes of their outputs. */
  readonly multiplyAdds: number
  /** Scores of labels, and numbers of vectors. */
  readonly values: number
  /** Of JSON, at most. */
  readonly bytes: number
}

/** What a task's labels are in JSON, in bytes. */
export interface LabelBytes {
  readonly all: number
  readonly longest: number
}

/** Multiply-adds that take as long as to make a probability of an output, and to rank it. */
const multiplyAddsOfValue = 50
/** `{"label":,"score":0.12345678901234567},` */
const bytesOfScore = 48
/** A number of a vector. */
const bytesOfNumber = 24
/** What stands around the values of a text, or of a word. */
const bytesAround = 200

const labelsAtOnce = 2_000

/** Counts the bytes of labels, in steps: they may be many. */
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
 * The cost of one text's answer.
 * @param units what the head is applied to: the words of a token classification, else 1
 * @param hiddenSize numbers of a vector
 */
export function predictionCost(
  { file, labelBytes }: Pick<Task, 'file' | 'labelBytes'>,
  units: number,
  topK: number | undefined,
  hiddenSize: number,
): PredictionCost {
  switch (file.problemType) {
    case 'feature_extraction':
      return { multiplyAdds: 0, values: hiddenSize, bytes: bytesAround + bytesOfNumber * hiddenSize }
    case 'regression':
      return { multiplyAdds: multiplyAddsOf(file.head), values: 1, bytes: bytesAround }
    case 'single_label_classification':
    case 'multi_label_classification':
    case 'token_classification': {
      const { all, longest } = labelBytes
      const listed = Math.min(topK ?? file.labels.length, file.labels.length)
      // All labels of a multi-label task may reach its threshold, and are listed once more then.
      const reaching = file.problemType === 'multi_label_classification' ? all + file.labels.length : 0
      const bytes = bytesAround + longest + Math.min(all, listed * longest) + bytesOfScore * listed + reaching
      // Every score is computed, also one that is not in the answer.
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

/** Work on the host that takes about as long as the engine takes for one token. */
const perToken = { multiplyAdds: 100_000, values: 250 } as const

/** The cost in tokens, for rates and turns. It is 0 for the small answers that most tasks give. */
export const tokensOfCost = ({ multiplyAdds, values }: PredictionCost): number =>
  Math.floor(multiplyAdds / perToken.multiplyAdds + values / perToken.values)

/** Whether the work is so little that it is done at once, without slices: well below a tenth of a millisecond. */
export const isSmall = ({ multiplyAdds, values }: PredictionCost): boolean => multiplyAdds <= 50_000 && values <= 200
