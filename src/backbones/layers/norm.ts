// Layer normalisation with the weights of a checkpoint.

import type { Value } from '../../graph/graph.js'
import { layerNorm } from '../../graph/operators.js'
import type { Weights } from '../weights.js'

export interface NormShape {
  readonly normEpsilon: number
  /** Default: true. */
  readonly normBias?: boolean
}

/**
 * The normalisation as a function, because an adapter applies it twice.
 * @param name the tensors are `<name>.weight` and, if it has a bias, `<name>.bias`, [width] each
 */
export function normLayer(
  weights: Weights,
  name: string,
  width: number,
  { normEpsilon, normBias = true }: NormShape,
): (x: Value) => Value {
  const weight = weights.float(`${name}.weight`, [width])
  const bias = normBias ? weights.float(`${name}.bias`, [width]) : undefined
  return (x) => layerNorm(weights.graph, x, weight, bias, normEpsilon)
}
