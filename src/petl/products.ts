// Products with a module's weights. Where all rows of a batch share a weight, [O,I], the product is a plain one on packed
// tokens [T,I]; where each row has its own, [B,O,I], it is a batched one on padded rows [B,S,I].

import type { GraphBuilder, Value } from '../graph/graph.js'
import { add, gemm, linear, matmulTransposed } from '../graph/operators.js'
import { type Packing, pack, pad } from '../graph/packing.js'

const eachRow = (weight: Value) => weight.shape.length === 3

/** Packed tokens, laid out as a product with the weight takes them. */
export const layOutFor = (g: GraphBuilder, x: Value, weight: Value, packing: Packing): Value =>
  eachRow(weight) ? pad(g, x, packing) : x

/** x · weightᵀ + bias, in the layout that {@link layOutFor} gave. The bias [O] is the same for all rows. */
export function product(g: GraphBuilder, x: Value, weight: Value, bias?: Value): Value {
  if (!eachRow(weight)) return bias ? linear(g, x, weight, bias) : gemm(g, x, weight, { transB: 1 })
  const y = matmulTransposed(g, x, weight)
  return bias ? add(g, y, bias) : y
}

/** The same, back to packed tokens [T,O]. */
export function packedProduct(g: GraphBuilder, x: Value, weight: Value, packing: Packing, bias?: Value): Value {
  if (!eachRow(weight)) return product(g, x, weight, bias)
  const y = pack(g, product(g, x, weight), packing)
  return bias ? add(g, y, bias) : y
}
