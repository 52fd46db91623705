// The feed-forward block of a transformer layer: two dense layers with an activation between them. In a gated block
// (Shazeer 2020, arXiv 2002.05202: GeGLU, SwiGLU), a third dense layer is activated and multiplies the result of the first.

import type { Value } from '../../graph/graph.js'
import { mul } from '../../graph/operators.js'
import type { Weights } from '../weights.js'
import { type Activation, hiddenActivations } from './activations.js'
import { type DenseName, linearLayer } from './linear.js'

export interface FeedForwardShape {
  readonly intermediateSize: number
  readonly activation: Activation
}

export interface FeedForwardNames {
  readonly inner: DenseName
  /** Absent if the block is not gated. */
  readonly gate?: DenseName
  readonly outer: DenseName
}

/** outer(activation(inner(x))), or outer(activation(gate(x)) ⊙ inner(x)); packed [T,H]. */
export function feedForward(
  weights: Weights,
  { inner, gate, outer }: FeedForwardNames,
  x: Value,
  { intermediateSize, activation }: FeedForwardShape,
): Value {
  const g = weights.graph
  const dense = (layer: DenseName) => linearLayer(weights, layer, x, intermediateSize)
  const activate = hiddenActivations[activation]
  const activated = gate === undefined ? activate(g, dense(inner)) : mul(g, activate(g, dense(gate)), dense(inner))
  return linearLayer(weights, outer, activated, x.shape[1] as number)
}
