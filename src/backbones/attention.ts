// Multi-head scaled dot-product attention (Vaswani et al. 2017, equation 1) from standard operators, which every
// execution provider runs and every operator of which has a gradient.

import type { Dimension, GraphBuilder, Value } from '../graph/graph.js'
import { add, concat, matmul, padZeros, reshape, scale, softmax, transpose } from '../graph/operators.js'
import { type Packing, pack, pad } from '../graph/packing.js'

export interface AttentionOptions {
  readonly heads: number
  /** Added to the scores: float32 that broadcasts to [B,heads,S,S]. */
  readonly bias: Value
  readonly packing: Packing
  /** Keys and values before the row's own, [B,P,H] each; they get no bias. */
  readonly prefix?: { readonly keys: Value; readonly values: Value }
}

/** softmax(q·kᵀ/√d + bias)·v for packed q, k, v [T,H]; the result is packed too. */
export function attention(
  g: GraphBuilder,
  { query, key, value }: { readonly query: Value; readonly key: Value; readonly value: Value },
  { heads, bias, packing, prefix }: AttentionOptions,
): Value {
  const H = query.shape[1] as number
  const headSize = H / heads
  const split = (rows: Value, order: readonly number[]) =>
    transpose(g, reshape(g, rows, ['B', rows.shape[1] as Dimension, heads, headSize]), order)
  const behind = (before: Value | undefined, x: Value) => {
    const rows = pad(g, x, packing)
    return before ? concat(g, [before, rows], 1, 'P+S') : rows
  }
  const keys = split(behind(prefix?.keys, key), [0, 2, 3, 1])
  const values = split(behind(prefix?.values, value), [0, 2, 1, 3])
  const biases = prefix ? padZeros(g, bias, 3, prefix.keys.shape[1] as number, 0, 'P+S') : bias
  const scores = matmul(g, split(pad(g, scale(g, query, headSize ** -0.5), packing), [0, 2, 1, 3]), keys)
  const attended = matmul(g, softmax(g, add(g, scores, biases)), values)
  return pack(g, reshape(g, transpose(g, attended, [0, 2, 1, 3]), ['B', 'S', H]), packing)
}
