// Mask bits to weights inside the graph: a byte looks up its eight 0s and 1s in a table.

import type { GraphBuilder, Value } from '../graph/graph.js'
import { bytesOf } from '../graph/graph.js'
import { cast, gather, mul, reshape, slice } from '../graph/operators.js'

/** float32 [256,8]: the bits of every byte, least significant first. */
export const byteTable = (g: GraphBuilder): Value =>
  g.constant(
    'bits_of_byte',
    'float32',
    [256, 8],
    bytesOf(Float32Array.from({ length: 256 * 8 }, (_, i) => ((i >> 3) >> (i & 7)) & 1)),
  )

/**
 * Masked weights of each row, `weight ⊙ mask`: [B, …shape of the weight].
 * @param masks the rows' mask bytes for one layer, uint8 or int32 [B, ⌈n/8⌉]
 * @param firstBit where the weight's bits start in a mask
 */
export function maskedWeight(g: GraphBuilder, table: Value, masks: Value, weight: Value, firstBit: number): Value {
  const shape = weight.shape as readonly number[]
  const size = shape.reduce((product, dim) => product * dim, 1)
  const firstByte = firstBit >> 3
  const lastByte = Math.ceil((firstBit + size) / 8)
  const bytes = cast(g, slice(g, masks, 1, firstByte, lastByte), 'int32')
  const bits = reshape(g, gather(g, table, bytes), ['B', (lastByte - firstByte) * 8])
  const start = firstBit - firstByte * 8
  return mul(g, reshape(g, slice(g, bits, 1, start, start + size), ['B', ...shape]), weight)
}
