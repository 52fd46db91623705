// Prefix tuning (Li and Liang 2021; paper, section 3.1): keys and values before a row's own, in every layer.

import { expand, reshape, slice } from '../graph/operators.js'
import type { PetlModule } from './module.js'

export interface PrefixConfig {
  readonly kind: 'prefix'
  /** P */
  readonly length: number
}

/** The first H columns of the base are P keys, the last H are P values. */
export const prefix = ({ length: P }: PrefixConfig, H: number): PetlModule => ({
  maskable: [{ name: 'base', shape: [P, 2 * H] }],
  unmasked: [],
  layer(g, weights) {
    const base = weights('base')
    const ofEachRow = base.shape.length === 3 ? base : expand(g, reshape(g, base, [1, P, 2 * H]), ['B', P, 2 * H])
    return { prefix: { keys: slice(g, ofEachRow, 2, 0, H), values: slice(g, ofEachRow, 2, H, 2 * H) } }
  },
})
