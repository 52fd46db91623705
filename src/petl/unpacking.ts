// Mask bits to weights inside the graph: a word looks up its eight entries in a table. The low byte of a word is eight
// bits of a mask's first plane, the high byte those of its second, and an entry is the sum of both: 0, 1 or 2.

import type { GraphBuilder, Value } from '../graph/graph.js'
import { bytesOf } from '../graph/graph.js'
import { cast, gather, mul, reshape, slice } from '../graph/operators.js'
import { elementCount } from './module.js'

/** float32 [65536,8]: the entries of every word, least significant bit first. Masks of one plane use its first 256 rows. */
export function entryTable(g: GraphBuilder): Value {
  const entries = new Float32Array(2 ** 16 * 8)
  for (let i = 0; i < entries.length; i++) {
    const word = i >> 3
    const bit = i & 7
    entries[i] = ((word >> bit) & 1) + ((word >> (8 + bit)) & 1)
  }
  return g.constant('entries_of_word', 'float32', [2 ** 16, 8], bytesOf(entries))
}

/**
 * Masked weights of each row, `weight ⊙ mask`: [B, …shape of the weight].
 * @param masks the rows' mask words, int32 or float32 [B,W]
 * @param firstBit where the weight's bits start in a row's words
 */
export function maskedWeight(g: GraphBuilder, table: Value, masks: Value, weight: Value, firstBit: number): Value {
  const shape = weight.shape as readonly number[]
  const size = elementCount(shape)
  const firstWord = firstBit >> 3
  const lastWord = Math.ceil((firstBit + size) / 8)
  const words = cast(g, slice(g, masks, 1, firstWord, lastWord), 'int32')
  const found = reshape(g, gather(g, table, words), ['B', (lastWord - firstWord) * 8])
  const start = firstBit - firstWord * 8
  return mul(g, reshape(g, slice(g, found, 1, start, start + size), ['B', ...shape]), weight)
}
