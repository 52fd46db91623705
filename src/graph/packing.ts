// Two layouts of the same tokens. Packed [T,H]: all rows' tokens end to end, no padding, for layers that treat each
// token alone. Padded [B,S,H]: one row for each text, for what looks across a row (attention) or differs between
// rows (a task's own module).

import type { Inverses } from './gradients.js'
import type { GraphBuilder, Value } from './graph.js'
import { gather, reshape } from './operators.js'

export interface Packing {
  /** int32 [B,S]: for each place of a padded row the packed token; a place past the end repeats the row's first. */
  readonly paddedIndex: Value
  /** int32 [T]: for each packed token its place in the padded rows, counted through [B·S]. */
  readonly packedIndex: Value
}

export const paddedIndexName = 'padded_index'

export const packingInputs = (g: GraphBuilder): Packing => ({
  paddedIndex: g.input(paddedIndexName, 'int32', ['B', 'S']),
  packedIndex: g.input('packed_index', 'int32', ['T']),
})

/** [T,H] → [B,S,H] */
export const pad = (g: GraphBuilder, x: Value, packing: Packing): Value => gather(g, x, packing.paddedIndex)

/** [B,S,H] → [T,H] */
export const pack = (g: GraphBuilder, x: Value, packing: Packing): Value =>
  gather(g, reshape(g, x, [-1, ...x.shape.slice(2)], 'B·S'), packing.packedIndex)

/**
 * The gradients of pad and pack are lookups by each other's index, for tokens and their places are one to one.
 * - pack takes a place from each token, and none from padding: `present` makes padding's gradient 0, where the lookup
 *   alone would repeat that of the row's first token.
 * - pad fills padding with the row's first token once more. What arrives there is left out, which is exact because it
 *   is 0: a padded query's output goes nowhere (pack), a padded key's weight is exp(−10,000) = 0 and its value is
 *   multiplied by that weight, and pooling weighs padding by 0.
 * @param present float32 [B,S,1]: 1 at a row's tokens, 0 at its padding
 */
export const packingInverses = ({ paddedIndex, packedIndex }: Packing, present: Value): Inverses =>
  new Map([
    [paddedIndex, { index: packedIndex }],
    [packedIndex, { index: paddedIndex, taken: present }],
  ])
