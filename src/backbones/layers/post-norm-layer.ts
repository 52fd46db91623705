// The transformer layer of BERT and its relatives: it normalises the sum of each block's input and output (post-norm).

import type { Value } from '../../graph/graph.js'
import { add } from '../../graph/operators.js'
import type { LayerHooks } from '../layer-hooks.js'
import type { Weights } from '../weights.js'
import { type AttentionContext, type AttentionNames, selfAttention } from './attention.js'
import { type FeedForwardNames, feedForward } from './feed-forward.js'
import type { LayerShape } from './layer-shape.js'
import { normLayer } from './norm.js'

/** The tensors of a layer, below the layer's own name. */
export interface PostNormNames extends AttentionNames, FeedForwardNames {
  readonly attentionNorm: string
  readonly outputNorm: string
}

/**
 * @param weights those below the layer's name ({@link Weights.below})
 * @param x the layer's input, packed [T,H]
 * @returns packed [T,H]
 */
export function postNormLayer(
  weights: Weights,
  names: PostNormNames,
  x: Value,
  shape: LayerShape,
  context: AttentionContext,
  hooks: LayerHooks,
): Value {
  const g = weights.graph
  const hiddenSize = x.shape[1] as number
  const norm = (name: string) => normLayer(weights, name, hiddenSize, shape)
  const attended = selfAttention(weights, names, x, shape.heads, context, hooks)
  const middle = norm(names.attentionNorm)(add(g, attended, x))
  const output = feedForward(weights, names, middle, shape)
  const outputNorm = norm(names.outputNorm)
  const sum = add(g, output, middle)
  return outputNorm(hooks.feedForward ? add(g, hooks.feedForward(sum, outputNorm), sum) : sum)
}
