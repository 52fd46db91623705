// Two layouts of the tokens of a batch. Packed [T,H]: the tokens of all rows one after the other, without padding, for
// layers that process each token alone. Padded [B,S,H]: for operators that work on whole rows (attention) or with other
// weights for each row (the modules of tasks).

import type { Inverses } from './gradients.js'
import type { GraphBuilder, Value } from './graph.js'
import { gather, reshape } from './operators.js'

export interface Packing {
  /** int32 [B,S]: the packed token of each position of the padded rows. Padding repeats the first token of the row. */
  readonly paddedIndex: Value
  /** int32 [T]: the position of each packed token in the padded rows, as an index into [B·S]. */
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
 * The gradient of pad is a lookup by the index of pack, and the other way round, because tokens and their positions
 * correspond one to one.
 * - Gradient of pack: the lookup would give padding the gradient of the row's first token. `present` makes it 0.
 * - Gradient of pad: padding repeats the row's first token, and the lookup ignores the gradient that arrives there. This
 *   is exact, because that gradient is 0: pack drops the output of a padded query, a padded key and its value have the
 *   weight exp(−10,000) = 0, and pooling gives padding the weight 0.
 * @param present float32 [B,S,1]: 1 at the tokens of a row, 0 at its padding
 */
export const packingInverses = ({ paddedIndex, packedIndex }: Packing, present: Value): Inverses =>
  new Map([
    [paddedIndex, { index: packedIndex }],
    [packedIndex, { index: paddedIndex, used: present }],
  ])
