// Prefix tuning (Li and Liang 2021; paper, section 3.1): trained keys and values before those of a row, in every layer.

import { Type } from 'typebox'
import type { GraphBuilder, Value } from '../graph/graph.js'
import { expand, reshape, scale, slice, sub } from '../graph/operators.js'
import type { PetlKind } from './module.js'
import { moduleSize } from './sizes.js'

const schema = Type.Object({
  /** P */
  length: moduleSize,
})

/** Even keys of zeros receive attention. This bias leaves them exp(−10,000) = 0 of it, as that of padding does. */
const noAttention = (g: GraphBuilder, hasModule: Value): Value =>
  reshape(g, scale(g, sub(g, hasModule, g.scalar(1)), 10_000), ['B', 1, 1, 1])

/** The first H columns of the base are P keys, the last H columns are P values. */
export const prefix: PetlKind<typeof schema> = {
  schema,
  expected: '{"length"}, a whole number from 1',

  options: {
    length: {
      flags: '--prefix-length <tokens>',
      meaning: 'keys and values of a prefix (default: 32)',
      value: 'size',
    },
  },
  weightRate: 0.01,

  complete: ({ length = 32 }) => ({ length }),

  build: ({ length: P }, H) => ({
    maskable: [{ name: 'base', shape: [P, 2 * H] }],
    unmasked: [],
    layer(g, weights, _packing, hasModule) {
      const base = weights('base')
      const ofEachRow = base.shape.length === 3 ? base : expand(g, reshape(g, base, [1, P, 2 * H]), ['B', P, 2 * H])
      return {
        prefix: {
          keys: slice(g, ofEachRow, 2, 0, H),
          values: slice(g, ofEachRow, 2, H, 2 * H),
          ...(hasModule && { bias: noAttention(g, hasModule) }),
        },
      }
    },
  }),
}
