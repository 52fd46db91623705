// The feed-forward block of a transformer layer: two dense layers with an activation between them.

import type { Value } from '../../graph/graph.js'
import type { Weights } from '../weights.js'
import { type Activation, hiddenActivations } from './activations.js'
import { linearLayer } from './linear.js'

export interface FeedForwardShape {
  readonly intermediateSize: number
  readonly activation: Activation
}

export interface FeedForwardNames {
  readonly inner: string
  readonly outer: string
}

/** outer(activation(inner(x))), packed [T,H]. */
export function feedForward(
  weights: Weights,
  names: FeedForwardNames,
  x: Value,
  { intermediateSize, activation }: FeedForwardShape,
): Value {
  const inner = linearLayer(weights, names.inner, x, intermediateSize)
  return linearLayer(weights, names.outer, hiddenActivations[activation](weights.graph, inner), x.shape[1] as number)
}
