// Converts mask bits to masked weights in the graph: each word looks up its eight mask entries in a table. The low byte of
// a word contains eight bits of the mask's first plane, the high byte those of the second plane. An entry is the sum of
// both bits: 0, 1 or 2.

import type { GraphBuilder, Value } from '../graph/graph.js'
import { bytesOf } from '../graph/graph.js'
import { add, cast, gather, mul, reshape, slice, split } from '../graph/operators.js'
import { elementCount } from './module.js'

/**
 * The table, float32 [2^bits,8]: the entries of every possible word, least significant bit first.
 * @param bits of a word: 16, or 8 for masks of one plane
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
 * The masked weights of each row, `weight ⊙ mask`: [B, …shape of the weight].
 * @param masks the mask words of each row, int32 or float32 [B,W]
 * @param firstBit the first bit of the weight in the words of a row
 */
export function maskedWeight(g: GraphBuilder, table: Value, masks: Value, weight: Value, firstBit: number): Value {
  const shape = weight.shape as readonly number[]
  const size = elementCount(shape)
  const firstWord = firstBit >> 3
  const lastWord = Math.ceil((firstBit + size) / 8)
  const words = cast(g, slice(g, masks, 1, firstWord, lastWord), 'int32')
  const entries = reshape(g, gather(g, table, words), ['B', (lastWord - firstWord) * 8])
  const start = firstBit - firstWord * 8
  return mul(g, reshape(g, slice(g, entries, 1, start, start + size), ['B', ...shape]), weight)
}

/**
 * The masked weights of each row, for masks of one plane and for all layers and tensors together. A mask byte looks up the
 * products of its eight bits with their weights, so that nothing is multiplied at run time. The table of these products
 * takes 512 bytes for each weight in float16.
 * @param masks uint8 [slots, layers, ⌈n/8⌉]
 * @param rowMasks int32 [B]: the slot of each row's mask
 * @param weights the maskable tensors one after the other, and zeros up to a whole byte: [8 · ⌈n/8⌉]
 * @param shapes of the maskable tensors
 * @returns the tensors of each layer, [B, …shape] each
 */
export function maskedWeightsOfLayers(
  g: GraphBuilder,
  masks: Value,
  rowMasks: Value,
  weights: Float32Array,
  layers: number,
  shapes: readonly (readonly number[])[],
): readonly (readonly Value[])[] {
  const maskBytes = weights.length / 8
  const bytes = cast(g, reshape(g, gather(g, masks, rowMasks), ['B', layers * maskBytes]), 'int32')
  // The products of byte 0 of a layer with all values of the byte come first, then those of byte 1.
  const starts = Int32Array.from({ length: layers * maskBytes }, (_, at) => 256 * (at % maskBytes))
  const index = add(g, bytes, g.constant('first_product_of_byte', 'int32', [starts.length], bytesOf(starts)))
  const products = gather(g, productTable(g, weights), index)

  const sizes = shapes.map(elementCount)
  const padding = weights.length - sizes.reduce((sum, size) => sum + size, 0)
  const layerSizes = padding === 0 ? sizes : [...sizes, padding]
  const [first = [1]] = shapes
  // If all tensors have one size, the result is split along the first axis of their shape, and its parts need no reshape.
  const haveOneSize = layerSizes.every((size) => size === elementCount(first))
  const [axisLength = 1, ...otherAxes] = haveOneSize ? first : [1]
  const lengths = Array.from({ length: layers }, () =>
    haveOneSize ? layerSizes.map(() => axisLength) : layerSizes,
  ).flat()
  const total = lengths.reduce((sum, length) => sum + length, 0)
  const parts = split(g, reshape(g, products, ['B', total, ...otherAxes]), 1, lengths)
  return Array.from({ length: layers }, (_, layer) =>
    shapes.map((wanted, tensor) => {
      const part = parts[layer * layerSizes.length + tensor]
      if (part === undefined) throw new Error(`layer ${layer} has no tensor ${tensor}`)
      const target = ['B', ...wanted]
      return part.shape.join() === target.join() ? part : reshape(g, part, target)
    }),
  )
}

/** The products of each eight consecutive weights with the entries of all bytes: [256 · bytes, 8]. */
function productTable(g: GraphBuilder, weights: Float32Array): Value {
  const maskBytes = weights.length / 8
  // onnxruntime computes this once, when it loads the model.
  const entries = reshape(g, entryTable(g, 8), [1, 256, 8])
  const products = mul(g, entries, g.constant('module.maskable', 'float32', [maskBytes, 1, 8], bytesOf(weights)))
  return reshape(g, products, [256 * maskBytes, 8])
}
