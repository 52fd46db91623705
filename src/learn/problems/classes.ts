// What the problem types that predict one class have in common.

import { outputCount } from '../../data/label-space.js'
import { thresholdOf } from '../../petl/task.js'
import type { Values } from '../evaluated-examples.js'
import { crossEntropy } from '../losses.js'
import { softmaxAt } from '../probabilities.js'
import type { ProblemTraits, ServedPrediction } from './learned-problem.js'

/** One class out of C, as its index. */
export const classTraits = {
  loss: crossEntropy,
  width: () => 1,
  labelsOf: (_, targets) => targets,
  lossTargets: (space, targets) => {
    const C = outputCount(space)
    const ones = new Float32Array(targets.length * C)
    for (const [at, label] of targets.entries()) if (label < C) ones[at * C + label] = 1
    return ones
  },
  predictions: (space, outputs) => {
    const { thresholds } = space
    const C = outputCount(space)
    const shifts = Float64Array.from({ length: C }, (_, label) =>
      thresholds === undefined ? 0 : Math.log(thresholdOf(thresholds, label)),
    )
    return Float32Array.from({ length: outputs.length / C }, (_, at) =>
      largestIndex(outputs.subarray(at * C, (at + 1) * C), shifts),
    )
  },
  confidences: (outputs, predictions, C) =>
    Float64Array.from(predictions, (label, at) => softmaxAt(outputs.subarray(at * C, (at + 1) * C), label)),
} as const satisfies Partial<ProblemTraits>

/** The prediction for a word without outputs, because its text was truncated. */
export const noClass = -1

/** Index of the largest output after its shift is subtracted, or noClass if the outputs are NaN. */
function largestIndex(outputs: Values, shifts: Float64Array): number {
  const at = (label: number) => (outputs[label] ?? Number.NaN) - (shifts[label] ?? 0)
  if (Number.isNaN(outputs[0])) return noClass
  let best = 0
  for (let label = 1; label < outputs.length; label++) if (at(label) > at(best)) best = label
  return best
}

export const rawScores = (prediction: Pick<ServedPrediction, 'scores'> | undefined): readonly number[] | undefined =>
  prediction?.scores?.map(({ score }) => score)
