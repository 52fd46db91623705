// Disentangled attention (He et al. 2020, arXiv 2006.03654, section 3.1): the score of a query and a key has up to two more
// terms, which depend on the content of one of them and on the distance between them.

import { bytesOf, type GraphBuilder, type Value } from '../../graph/graph.js'
import {
  add,
  concat,
  gather,
  gatherElements,
  matmul,
  matmulTransposed,
  reduceMax,
  reshape,
  scale,
  sub,
  swapLast,
  transpose,
} from '../../graph/operators.js'
import { type Packing, pad } from '../../graph/packing.js'
import type { Weights } from '../weights.js'
import type { AttentionContext } from './attention.js'
import { distancesUpTo } from './relative-bias.js'

/** How distances become entries of the table of relative embeddings. */
export interface DistanceShape {
  /** The table has 2·span entries: distance 0 is entry `span`. */
  readonly span: number
  /** Absent: each distance has an entry, and distances beyond the span share the first or the last entry. */
  readonly logBuckets?: { readonly count: number; readonly farthest: number }
}

/**
 * The entry of a distance, query − key. With buckets, distances up to count/2 have an entry each, and the others share
 * buckets that grow by a constant factor. float32, as in `transformers`, so that the same distances share a bucket.
 */
export function entryOf(distance: number, { span, logBuckets }: DistanceShape): number {
  const entry = span + (logBuckets ? logBucket(distance, logBuckets) : distance)
  return Math.min(Math.max(entry, 0), 2 * span - 1)
}

function logBucket(
  distance: number,
  { count, farthest }: { readonly count: number; readonly farthest: number },
): number {
  const exact = Math.floor(count / 2)
  const steps = Math.abs(distance)
  if (steps <= exact) return distance
  const { fround } = Math
  const log = (x: number) => fround(Math.log(fround(x)))
  const share = fround(log(steps / exact) / log((farthest - 1) / exact))
  return Math.sign(distance) * (Math.ceil(fround(share * (exact - 1))) + exact)
}

/** What all layers share. It depends only on the lengths of the rows. */
export interface Distances {
  /** int32 [2·S]: the entry of each distance from −S to S − 1. */
  readonly entries: Value
  /** int32 [B,heads,S,S]: the index of the distance between a query and a key in `entries`. */
  readonly index: Value
}

/**
 * The distances that occur in a batch. Products with the entries of these few distances cost much less in short rows than
 * products with the whole table.
 * @param positions int32 [T]: position of each packed token in its row, from 0
 * @param maxTokens length of the longest row
 */
export function distancesOf(
  g: GraphBuilder,
  shape: DistanceShape,
  { positions, packing, heads, maxTokens }: { positions: Value; packing: Packing; heads: number; maxTokens: number },
): Distances {
  // The lookup of a row with S tokens includes the distance −S, which no query and key have.
  const all = distancesUpTo(maxTokens + 1)
  const integers = (name: string, dims: readonly number[], data: Int32Array) =>
    g.constant(name, 'int32', dims, bytesOf(data))
  const table = integers(
    'entry_of_distance',
    [all.length],
    all.map((distance) => entryOf(distance, shape)),
  )
  const padded = pad(g, positions, packing)
  // The longest row has all positions: 0, 1, …, S − 1.
  const range = reduceMax(g, padded, [0])
  const length = add(g, reduceMax(g, range, [0], true), integers('one_position', [1], Int32Array.of(1)))
  const entries = gather(g, table, concat(g, [sub(g, range, length), range], 0, '2·S'))
  const rows = add(g, reshape(g, padded, ['B', 1, 'S', 1]), length)
  const index = sub(g, rows, reshape(g, padded, ['B', 1, 1, 'S']))
  // The operator that reads the index does not broadcast it to the heads.
  return { entries, index: add(g, index, integers('zero_of_each_head', [1, heads, 1, 1], new Int32Array(heads))) }
}

/** The projections of the relative embeddings in a layer. A term without a projection is left out of the scores. */
export interface DisentangledNames {
  /** Content to position: the product of a query with the projected embedding of the distance. */
  readonly positionKey?: string
  /** Position to content: the product of the projected embedding of the distance with a key. */
  readonly positionQuery?: string
}

/** The factor of all terms of a score: 1/√(d · terms). */
const disentangledScale = ({ positionKey, positionQuery }: DisentangledNames, headSize: number): number =>
  (headSize * (1 + (positionKey === undefined ? 0 : 1) + (positionQuery === undefined ? 0 : 1))) ** -0.5

/**
 * The context of the attention of a layer.
 * @param weights those below the layer's name
 * @param embeddings the relative embeddings [2·span,H]
 */
export function disentangledContext(
  weights: Weights,
  names: DisentangledNames,
  embeddings: Value,
  { entries, index }: Distances,
  { bias, packing }: AttentionContext,
): AttentionContext {
  const g = weights.graph
  const [, heads = 0] = index.shape as readonly number[]
  const headSize = (embeddings.shape[1] as number) / heads
  const factor = disentangledScale(names, headSize)
  const ofDistances = (name: string, by: number) =>
    gather(g, positionTable(weights, name, embeddings, heads, by), entries, 1)
  const { positionKey, positionQuery } = names
  return {
    bias,
    packing,
    scale: factor,
    termsOf(queries, keys) {
      const contentToPosition =
        positionKey !== undefined &&
        gatherElements(g, matmulTransposed(g, queries, ofDistances(positionKey, 1)), index, 3)
      const positionToContent =
        positionQuery !== undefined && gatherElements(g, matmul(g, ofDistances(positionQuery, factor), keys), index, 2)
      return [contentToPosition, positionToContent].filter((term) => term !== false)
    },
  }
}

/**
 * The projected relative embeddings times a factor, [heads,2·span,d]. They depend on weights only, so onnxruntime computes
 * them when it loads the model. A plain product instead of a dense layer keeps them exact with int8.
 */
function positionTable(weights: Weights, name: string, embeddings: Value, heads: number, factor: number): Value {
  const g = weights.graph
  const [entries, H] = embeddings.shape as readonly [number, number]
  const weight = weights.float(`${name}.weight`, [H, H])
  const projected = add(g, matmul(g, embeddings, swapLast(g, weight)), weights.float(`${name}.bias`, [H]))
  const byHead = transpose(g, reshape(g, projected, [entries, heads, H / heads]), [1, 0, 2])
  return factor === 1 ? byHead : scale(g, byHead, factor)
}
