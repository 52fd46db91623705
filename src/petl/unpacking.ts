// Mask bits to weights inside the graph: a word looks up its eight entries in a table. The low byte of a word is eight
// bits of a mask's first plane, the high byte those of its second, and an entry is the sum of both: 0, 1 or 2.

import type { GraphBuilder, Value } from '../graph/graph.js'
import { bytesOf } from '../graph/graph.js'
import { cast, gather, mul, reshape, slice, split } from '../graph/operators.js'
import { elementCount } from './module.js'

/**
 * float32 [2^bits,8]: the entries of every word, least significant bit first.
 * @param bits 16, or 8 for masks of one plane
 */
export function entryTable(g: GraphBuilder, bits: 8 | 16 = 16): Value {
  const entries = new Float32Array(2 ** bits * 8)
  for (let i = 0; i < entries.length; i++) {
    const word = i >> 3
    const bit = i & 7
    entries[i] = ((word >> bit) & 1) + ((word >> (8 + bit)) & 1)
  }
  return g.constant('entries_of_word', 'float32', [2 ** bits, 8], bytesOf(entries))
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

/**
 * The same for masks of one plane of which rows share some: each mask is unpacked and multiplied once, for all layers and
 * tensors together.
 * @param masks uint8 [U, layers, ⌈n/8⌉]
 * @param rowMasks int32 [B]: the mask of each row
 * @param weights the maskable tensors, end to end, and zeros up to a whole byte: [8 · ⌈n/8⌉]
 * @param shapes of the maskable tensors
 * @returns for each layer its tensors, [B, …shape] each
 */
export function maskedWeightsBySlot(
  g: GraphBuilder,
  masks: Value,
  rowMasks: Value,
  weights: Float32Array,
  layers: number,
  shapes: readonly (readonly number[])[],
): readonly (readonly Value[])[] {
  const sizes = shapes.map(elementCount)
  const rest = weights.length - sizes.reduce((sum, size) => sum + size, 0)
  const ofLayer = rest === 0 ? sizes : [...sizes, rest]
  const [first = [1]] = shapes
  // Where tensors are alike, parts of the result have the shape of the first one as they are.
  const alike = ofLayer.every((size) => size === elementCount(first))
  const [rows = 1, ...row] = alike ? first : [1]
  const lengths = Array.from({ length: layers }, () => (alike ? ofLayer.map(() => rows) : ofLayer)).flat()
  const shape = [lengths.reduce((sum, length) => sum + length, 0), ...row]
  const tiled = new Float32Array(layers * weights.length)
  for (let layer = 0; layer < layers; layer++) tiled.set(weights, layer * weights.length)
  const found = reshape(g, gather(g, entryTable(g, 8), cast(g, masks, 'int32')), ['slots', ...shape])
  const masked = mul(g, found, g.constant('module.maskable', 'float32', shape, bytesOf(tiled)))
  const parts = split(g, gather(g, masked, rowMasks), 1, lengths)
  return Array.from({ length: layers }, (_, layer) =>
    shapes.map((wanted, tensor) => {
      const part = parts[layer * ofLayer.length + tensor]
      if (part === undefined) throw new Error(`layer ${layer} has no tensor ${tensor}`)
      const target = ['B', ...wanted]
      return part.shape.join() === target.join() ? part : reshape(g, part, target)
    }),
  )
}
