// A dense layer with the weights of a checkpoint.

import type { Value } from '../../graph/graph.js'
import { linear } from '../../graph/operators.js'
import type { Weights } from '../weights.js'

/**
 * x · weightᵀ + bias.
 * @param name the tensors are `<name>.weight` and `<name>.bias`
 * @param x packed [T,I]
 * @returns packed [T,outputs]
 */
export function linearLayer(weights: Weights, name: string, x: Value, outputs: number): Value {
  const inputs = x.shape[1] as number
  const weight = weights.float(`${name}.weight`, [outputs, inputs])
  return linear(weights.graph, x, weight, weights.float(`${name}.bias`, [outputs]))
}
