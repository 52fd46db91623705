// Local attention (Beltagy et al. 2020, arXiv 2004.05150, sliding windows): a token attends only to tokens near it.

import { bytesOf, type GraphBuilder, type Value } from '../../graph/graph.js'
import type { Packing } from '../../graph/packing.js'
import { biasByDistance, distancesUpTo } from './relative-bias.js'

/** Added to the scores of hidden keys. exp(x − 10,000) is 0 in float32 relative to any real score. */
const hiddenBias = -10_000

/**
 * Biases [B,1,S,S] that hide the keys outside a window.
 * @param reach the largest distance of a key that a query attends to, in both directions
 * @param positions int32 [T]: position of each packed token in its row, from 0
 * @param maxTokens length of the longest row
 */
export function windowBias(
  g: GraphBuilder,
  reach: number,
  positions: Value,
  packing: Packing,
  maxTokens: number,
): Value {
  const biases = Float32Array.from(distancesUpTo(maxTokens), (distance) =>
    Math.abs(distance) <= reach ? 0 : hiddenBias,
  )
  const table = g.constant(`bias_beyond_${reach}`, 'float32', [biases.length, 1], bytesOf(biases))
  return biasByDistance(g, table, positions, packing)
}
