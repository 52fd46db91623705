// The losses as parts of a training graph, one for each form of target.

import type { GraphBuilder, Value } from '../graph/graph.js'
import { logSoftmax, mul, scale, softplus, sub } from '../graph/operators.js'
import { logOdds } from './probabilities.js'

export interface Loss {
  /** Terms [N,C] from outputs and targets [N,C]. The loss is their sum, in which each of the N targets has its weight. */
  readonly terms: (g: GraphBuilder, outputs: Value, targets: Value) => Value
  /** Weight of each of N targets, so that the weighted sum is the mean. */
  readonly weight: (targets: number, outputs: number) => number
  /** The output with the lowest loss if it is the same for all examples, from the mean target. */
  readonly constant: (mean: number) => number
}

/** For one class out of C; the target is one-hot. */
export const crossEntropy: Loss = {
  terms: (g, outputs, targets) => scale(g, mul(g, targets, logSoftmax(g, outputs)), -1),
  weight: (targets) => 1 / targets,
  constant: (mean) => Math.log(inside(mean)),
}

/** For C labels that may each apply; the mean is also over labels. */
export const binaryCrossEntropy: Loss = {
  terms: (g, outputs, targets) => sub(g, softplus(g, outputs), mul(g, outputs, targets)),
  weight: (targets, outputs) => 1 / (targets * outputs),
  constant: (mean) => logOdds(inside(mean)),
}

/** For a number. */
export const squaredError: Loss = {
  terms: (g, outputs, targets) => {
    const error = sub(g, outputs, targets)
    return mul(g, error, error)
  },
  weight: (targets) => 1 / targets,
  constant: (mean) => mean,
}

/** The frequency of a label, if it is 0 or 1, as one whose logarithm is finite. */
const inside = (frequency: number): number => Math.min(Math.max(frequency, 1e-4), 1 - 1e-4)
