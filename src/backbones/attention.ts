// Multi-head scaled dot-product attention (Vaswani et al. 2017, equation 1) from standard operators, which every
// execution provider runs and every operator of which has a gradient.

import type { GraphBuilder, Value } from '../graph/graph.js'
import { add, matmul, reshape, scale, softmax, transpose } from '../graph/operators.js'
import { type Packing, pack, pad } from '../graph/packing.js'

/** softmax(q·kᵀ/√d + bias)·v for packed q, k, v [T,H]; the result is packed too. */
export function attention(
  g: GraphBuilder,
  { query, key, value }: { readonly query: Value; readonly key: Value; readonly value: Value },
  { heads, keyBias, packing }: { readonly heads: number; readonly keyBias: Value; readonly packing: Packing },
): Value {
  const H = query.shape[1] as number
  const headSize = H / heads
  const split = (x: Value, order: readonly number[]) =>
    transpose(g, reshape(g, pad(g, x, packing), ['B', 'S', heads, headSize]), order)
  const scores = matmul(g, split(scale(g, query, headSize ** -0.5), [0, 2, 1, 3]), split(key, [0, 2, 3, 1]))
  const attended = matmul(g, softmax(g, add(g, scores, keyBias)), split(value, [0, 2, 1, 3]))
  return pack(g, reshape(g, transpose(g, attended, [0, 2, 1, 3]), ['B', 'S', H]), packing)
}
