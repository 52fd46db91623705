// Passes that put one operator of onnxruntime's own in the place of several: fewer kernels to start, and fewer bytes
// between them. Each says where its operator has kernels.

import type { Node } from '../graph.js'
import { type Pass, rewrite } from './rewrite.js'

const microsoft = { domain: 'com.microsoft' } as const

/** A product with a transposed matrix, without a transposed copy of it: on CPU and CUDA. */
export const fuseTransposedProducts: Pass = (graph) =>
  rewrite(graph, (node, { g, maker, now }) => {
    const [a, b] = node.inputs
    if (node.operator !== 'MatMul' || !a || !b) return undefined
    const transpose = maker(b)
    const [matrix] = transpose?.inputs ?? []
    if (transpose?.operator !== 'Transpose' || !matrix || !swapsLast(transpose)) return undefined
    const options = { ...microsoft, attributes: { transB: 1 } }
    return [g.node('FusedMatMul', [now(a), now(matrix)], node.outputs[0], options)]
  })

function swapsLast({ attributes }: Node): boolean {
  const order = attributes.perm as readonly number[]
  const rank = order.length
  return order.every((axis, at) => axis === (at < rank - 2 ? at : 2 * rank - 3 - at))
}
