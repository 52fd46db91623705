// A transformer layer that normalises the input of each block, and not the sums (pre-norm; Xiong et al. 2020, arXiv
// 2002.04745).

import type { Value } from '../../graph/graph.js'
import { add } from '../../graph/operators.js'
import type { LayerHooks } from '../layer-hooks.js'
import type { Weights } from '../weights.js'
import { type AttentionContext, type AttentionNames, selfAttention } from './attention.js'
import { type FeedForwardNames, feedForward } from './feed-forward.js'
import type { LayerShape } from './layer-shape.js'
import { normLayer } from './norm.js'

/** The tensors of a layer, below the layer's own name. */
export interface PreNormNames extends AttentionNames, FeedForwardNames {
  /** Undefined if attention takes the layer's input as it is. */
  readonly attentionNorm: string | undefined
  readonly feedForwardNorm: string
}

const unchanged = (value: Value): Value => value

/**
 * @param weights those below the layer's name ({@link Weights.below})
 * @param x the layer's input, packed [T,H]
 * @returns packed [T,H], not normalised
 */
export function preNormLayer(
  weights: Weights,
  names: PreNormNames,
  x: Value,
  shape: LayerShape,
  context: AttentionContext,
  hooks: LayerHooks,
): Value {
  const g = weights.graph
  const hiddenSize = x.shape[1] as number
  const norm = (name: string) => normLayer(weights, name, hiddenSize, shape)
  const input = names.attentionNorm === undefined ? x : norm(names.attentionNorm)(x)
  const middle = add(g, x, selfAttention(weights, names, input, shape.heads, context, hooks))
  const sum = add(g, middle, feedForward(weights, names, norm(names.feedForwardNorm)(middle), shape))
  return hooks.feedForward ? add(g, sum, hooks.feedForward(sum, unchanged)) : sum
}
