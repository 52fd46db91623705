// Mask bits to weights inside the graph: a word looks up its eight entries in a table. The low byte of a word is eight
// bits of a mask's first plane, the high byte those of its second, and an entry is the sum of both: 0, 1 or 2.

import type { GraphBuilder, Value } from '../graph/graph.js'
import { bytesOf } from '../graph/graph.js'
import { cast, gather, mul, reshape, split } from '../graph/operators.js'
import { elementCount, type NamedShape } from './module.js'

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
 * float32 [8 · ⌈n/8⌉]: the weights that masks cover, one tensor behind the other as mask bits count through them, and
 * zeros where the bits of the last byte cover none.
 */
export function maskableWeights(g: GraphBuilder, tensors: readonly Float32Array[], maskBytes: number): Value {
  const weights = new Float32Array(8 * maskBytes)
  let first = 0
  for (const tensor of tensors) {
    weights.set(tensor, first)
    first += tensor.length
  }
  return g.constant('maskable_weights', 'float32', [weights.length], bytesOf(weights))
}

/**
 * Masked weights of each row, `weight ⊙ mask`, by tensor: [B, …shape]. All tensors of a layer are unpacked at once: on a
 * device it is the number of operators that takes time, and not their size.
 * @param words the rows' mask words for one layer, uint16 or float32 [B,1,⌈n/8⌉]
 * @param weights as {@link maskableWeights} gives them
 * @param tensors what the mask covers, in its order
 */
export function maskedWeights(
  g: GraphBuilder,
  table: Value,
  words: Value,
  weights: Value,
  tensors: readonly NamedShape[],
): (readonly [name: string, Value])[] {
  const [bits = 0] = weights.shape as readonly number[]
  const entries = reshape(g, gather(g, table, cast(g, words, 'int32')), ['B', bits])
  const sizes = tensors.map(({ shape }) => elementCount(shape))
  const parts = split(g, mul(g, entries, weights), 1, sizes)
  return tensors.map(({ name, shape }, i) => [name, reshape(g, parts[i] as Value, ['B', ...shape])] as const)
}
