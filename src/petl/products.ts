// Products with the weights of a module. If all rows of a batch share a weight [O,I], the product is a plain one on packed
// tokens [T,I]. If each row has its own, [B,O,I], it is a batched one on padded rows [B,S,I].

import type { GraphBuilder, Value } from '../graph/graph.js'
import { add, gemm, linear, matmulTransposed } from '../graph/operators.js'
import { type Packing, pack, pad } from '../graph/packing.js'

const isOfEachRow = ({ shape }: Value) => shape.length === 3

/** Packed tokens in the layout that a product with the weight needs. */
export const layOutFor = (g: GraphBuilder, x: Value, weight: Value, packing: Packing): Value =>
  isOfEachRow(weight) ? pad(g, x, packing) : x

/**
 * x · weightᵀ + bias, in the layout of x.
 * @param x in the layout of {@link layOutFor}
 * @param bias [O], or [B,1,O] if each row has its own
 */
export function product(g: GraphBuilder, x: Value, weight: Value, bias?: Value): Value {
  if (!isOfEachRow(weight)) return bias ? linear(g, x, weight, bias) : gemm(g, x, weight, { transB: 1 })
  const y = matmulTransposed(g, x, weight)
  return bias ? add(g, y, bias) : y
}

/** {@link product}, converted back to packed tokens [T,O]. */
export function packedProduct(g: GraphBuilder, x: Value, weight: Value, packing: Packing, bias?: Value): Value {
  if (!isOfEachRow(weight)) return product(g, x, weight, bias)
  if (bias && isOfEachRow(bias)) return pack(g, product(g, x, weight, bias), packing)
  // Added to packed tokens, a bias of all rows can be fused with a normalisation that follows.
  const packed = pack(g, product(g, x, weight), packing)
  return bias ? add(g, packed, bias) : packed
}
