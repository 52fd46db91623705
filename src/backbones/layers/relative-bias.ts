// Relative position bias: each head adds a learned number to the score of a query and a key, which depends on the
// distance between them (Raffel et al. 2020, arXiv 1910.10683, section 2.1). All layers share the bias.

import { bytesOf, type GraphBuilder, type Value } from '../../graph/graph.js'
import { gather, reshape, sub, transpose } from '../../graph/operators.js'
import { type Packing, pad } from '../../graph/packing.js'

/** All distances from this one on share the last bucket of their direction. */
const farthest = 128

/**
 * The bucket of a distance, key − query. Half of the buckets are for keys after the query. In each half, half of the
 * buckets hold one distance each, and the others hold ranges that grow by a constant factor.
 */
export function bucketOf(distance: number, buckets: number): number {
  const direction = distance > 0 ? buckets / 2 : 0
  const exact = buckets / 4
  const steps = Math.abs(distance)
  if (steps < exact) return direction + steps
  const range = Math.floor((Math.log(steps / exact) / Math.log(farthest / exact)) * exact)
  return direction + exact + Math.min(range, exact - 1)
}

/**
 * The distances in rows of up to `maxTokens` tokens: 0, 1, … and then …, −2, −1, because gather counts a negative index
 * from the end.
 */
export function distancesUpTo(maxTokens: number): Int32Array {
  const count = 2 * maxTokens - 1
  return Int32Array.from({ length: count }, (_, i) => (i < maxTokens ? i : i - count))
}

/**
 * Biases [B,heads,S,S] by the distance of each query and key.
 * @param table float32 [distances,heads], in the order of {@link distancesUpTo}
 * @param positions int32 [T]: position of each packed token in its row, from 0
 */
export function biasByDistance(g: GraphBuilder, table: Value, positions: Value, packing: Packing): Value {
  const padded = pad(g, positions, packing)
  const distance = sub(g, reshape(g, padded, ['B', 1, 'S']), reshape(g, padded, ['B', 'S', 1]))
  return transpose(g, gather(g, table, distance), [0, 3, 1, 2])
}

/**
 * Biases [B,heads,S,S]. Their values at padding do not matter, because attention gives padding no weight.
 * @param table float32 [buckets,heads]
 * @param positions int32 [T]: position of each packed token in its row, from 0
 * @param maxTokens length of the longest row
 */
export function relativeBias(
  g: GraphBuilder,
  table: Value,
  positions: Value,
  packing: Packing,
  maxTokens: number,
): Value {
  const [buckets] = table.shape as readonly number[]
  const bucketOfDistance = distancesUpTo(maxTokens).map((distance) => bucketOf(distance, buckets as number))
  const index = g.constant('bucket_of_distance', 'int32', [bucketOfDistance.length], bytesOf(bucketOfDistance))
  return biasByDistance(g, gather(g, table, index), positions, packing)
}
