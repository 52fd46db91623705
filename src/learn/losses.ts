// Losses as parts of a graph, by what a target is.

import type { GraphBuilder, Value } from '../graph/graph.js'
import { logSoftmax, mul, scale, softplus, sub } from '../graph/operators.js'

export interface Loss {
  /** What is summed over columns and, by the rows' weights, over rows: [N,C], from outputs and targets [N,C]. */
  readonly terms: (g: GraphBuilder, outputs: Value, targets: Value) => Value
  /** Weight of a row of N, such that the sum is the mean. */
  readonly weight: (rows: number, outputs: number) => number
}

/** Of one class out of C; the target has a 1 at it. */
export const crossEntropy: Loss = {
  terms: (g, outputs, targets) => scale(g, mul(g, targets, logSoftmax(g, outputs)), -1),
  weight: (rows) => 1 / rows,
}

/** Of C labels that may each apply; the mean is over labels too. */
export const binaryCrossEntropy: Loss = {
  terms: (g, outputs, targets) => sub(g, softplus(g, outputs), mul(g, outputs, targets)),
  weight: (rows, outputs) => 1 / (rows * outputs),
}

/** Of a number. */
export const squaredError: Loss = {
  terms: (g, outputs, targets) => {
    const error = sub(g, outputs, targets)
    return mul(g, error, error)
  },
  weight: (rows) => 1 / rows,
}
