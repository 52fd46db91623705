// Layer normalisation with the weights of a checkpoint.

import type { Value } from '../../graph/graph.js'
import { layerNorm } from '../../graph/operators.js'
import type { Weights } from '../weights.js'

/**
 * The normalisation as a function, because an adapter applies it twice.
 * @param name the tensors are `<name>.weight` and `<name>.bias`, [width] each
 */
export function normLayer(weights: Weights, name: string, width: number, epsilon: number): (x: Value) => Value {
  const weight = weights.float(`${name}.weight`, [width])
  const bias = weights.float(`${name}.bias`, [width])
  return (x) => layerNorm(weights.graph, x, weight, bias, epsilon)
}
