// The sizes of a transformer layer, with normalisation before or after its blocks.

import type { FeedForwardShape } from './feed-forward.js'
import type { NormShape } from './norm.js'

export interface LayerShape extends FeedForwardShape, NormShape {
  readonly heads: number
}
