// Multi-head scaled dot-product attention (Vaswani et al. 2017, equation 1) from standard operators. Every execution
// provider runs them, and each has a gradient.

import type { Dimension, GraphBuilder, Value } from '../../graph/graph.js'
import {
  add,
  concat,
  expand,
  matmul,
  padZeros,
  reshape,
  scale,
  slice,
  softmax,
  transpose,
} from '../../graph/operators.js'
import { type Packing, pack, pad } from '../../graph/packing.js'
import type { EncoderInputs } from '../architecture.js'
import type { AttentionPrefix, LayerHooks } from '../layer-hooks.js'
import type { Weights } from '../weights.js'
import { type DenseName, linearLayer } from './linear.js'
import { type Rotation, rotate, rotation } from './rotary.js'

/** What all layers of a graph share, or all of one kind if there are several kinds. */
export interface AttentionContext {
  /** Added to the scores: float32 that broadcasts to [B,heads,S,S]. */
  readonly bias: Value
  readonly packing: Packing
  /** Rotary positions of queries and keys. */
  readonly rotation?: Rotation
  /** Factor of the queries. Default: 1/√d. */
  readonly scale?: number
  /**
   * Further terms of the scores, [B,heads,S,S] each.
   * @param queries those times the factor, [B,heads,S,d]
   * @param keys [B,heads,d,S]
   */
  readonly termsOf?: (queries: Value, keys: Value) => readonly Value[]
}

/** The context of layers with rotary positions; the last three arguments are those of {@link rotation}. */
export const rotaryContext = (
  g: GraphBuilder,
  { positionIds, keyBias, packing }: EncoderInputs,
  name: string,
  frequencies: readonly number[],
  maxTokens: number,
): AttentionContext => ({
  bias: keyBias,
  packing,
  rotation: rotation(g, name, frequencies, positionIds, maxTokens),
})

export interface AttentionOptions extends AttentionContext {
  readonly heads: number
  /** Before the keys and values of the row. */
  readonly prefix?: AttentionPrefix
}

/** softmax(q·kᵀ/√d + terms + bias)·v of packed q, k and v [T,H]. The result is packed too. */
export function attention(
  g: GraphBuilder,
  { query, key, value }: { readonly query: Value; readonly key: Value; readonly value: Value },
  { heads, bias: shared, packing, rotation: angles, scale: factor, termsOf, prefix }: AttentionOptions,
): Value {
  const H = query.shape[1] as number
  const headSize = H / heads
  const splitHeads = (x: Value, order: readonly number[]) =>
    transpose(g, reshape(g, x, ['B', x.shape[1] as Dimension, heads, headSize]), order)
  const withPrefix = (before: Value | undefined, x: Value) => {
    const padded = pad(g, x, packing)
    return before ? concat(g, [before, padded], 1, 'P+S') : padded
  }
  const rotated = (x: Value) => (angles ? rotate(g, x, angles) : x)
  const keys = splitHeads(withPrefix(prefix?.keys, rotated(key)), [0, 2, 3, 1])
  const values = splitHeads(withPrefix(prefix?.values, value), [0, 2, 1, 3])
  const biases = prefix ? withPrefixBias(g, shared, prefix) : shared
  const queries = splitHeads(pad(g, scale(g, rotated(query), factor ?? headSize ** -0.5), packing), [0, 2, 1, 3])
  const terms = termsOf?.(queries, keys) ?? []
  const bias = terms.reduceRight((sum, term) => add(g, term, sum), biases)
  const attended = matmul(g, softmax(g, add(g, matmul(g, queries, keys), bias)), values)
  return pack(g, reshape(g, transpose(g, attended, [0, 2, 1, 3]), ['B', 'S', H]), packing)
}

function withPrefixBias(g: GraphBuilder, bias: Value, { keys, bias: ofPrefix }: AttentionPrefix): Value {
  const P = keys.shape[1] as number
  if (ofPrefix === undefined) return padZeros(g, bias, 3, P, 0, 'P+S')
  const isOfRows = bias.shape[1] === 1 && bias.shape[2] === 1
  // Adding zeros of the shape of the bias gives the prefix that shape without computing sizes, which run on the CPU.
  const column = isOfRows ? ofPrefix : add(g, scale(g, slice(g, bias, 3, 0, 1), 0), ofPrefix)
  return concat(g, [expand(g, column, [...column.shape.slice(0, 3), P]), bias], 3, 'P+S')
}

/** The dense layers of attention, below the layer's name. */
export interface AttentionNames {
  readonly query: DenseName
  readonly key: DenseName
  readonly value: DenseName
  readonly attentionOutput: DenseName
}

/** The projections of attention, if one dense layer computes query, key and value in this order. */
export const fusedProjections = (name: string, bias: boolean): Pick<AttentionNames, 'query' | 'key' | 'value'> => ({
  query: { name, bias, part: { at: 0, of: 3 } },
  key: { name, bias, part: { at: 1, of: 3 } },
  value: { name, bias, part: { at: 2, of: 3 } },
})

/** Attention of x to itself, with its projections, packed [T,H]. */
export function selfAttention(
  weights: Weights,
  names: AttentionNames,
  x: Value,
  heads: number,
  context: AttentionContext,
  { projections, prefix }: LayerHooks,
): Value {
  const g = weights.graph
  const hiddenSize = x.shape[1] as number
  const project = (layer: DenseName) => linearLayer(weights, layer, x, hiddenSize)
  const additions = projections?.(x)
  const query = additions ? add(g, project(names.query), additions.query) : project(names.query)
  const value = additions ? add(g, project(names.value), additions.value) : project(names.value)
  const key = project(names.key)
  const attended = attention(g, { query, key, value }, { ...context, heads, ...(prefix && { prefix }) })
  return linearLayer(weights, names.attentionOutput, attended, hiddenSize)
}
