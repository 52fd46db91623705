// Prefix tuning (Li and Liang 2021; paper, section 3.1): trained keys and values before those of a row, in every layer.

import { Type } from 'typebox'
import { expand, reshape, slice } from '../graph/operators.js'
import type { PetlKind } from './module.js'
import { moduleSize } from './sizes.js'

const schema = Type.Object({
  /** P */
  length: moduleSize,
})

/** The first H columns of the base are P keys, the last H columns are P values. */
export const prefix: PetlKind<typeof schema> = {
  schema,
  expected: '{"length"}, a whole number from 1',

  complete: ({ length = 32 }) => ({ length }),

  build: ({ length: P }, H) => ({
    maskable: [{ name: 'base', shape: [P, 2 * H] }],
    unmasked: [],
    layer(g, weights) {
      const base = weights('base')
      const ofEachRow = base.shape.length === 3 ? base : expand(g, reshape(g, base, [1, P, 2 * H]), ['B', P, 2 * H])
      return { prefix: { keys: slice(g, ofEachRow, 2, 0, H), values: slice(g, ofEachRow, 2, H, 2 * H) } }
    },
  }),
}
