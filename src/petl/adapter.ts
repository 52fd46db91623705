// The adapter after a layer's feed-forward block (Houlsby et al. 2019, at the place of Pfeiffer et al. 2021; paper,
// section 3.1).

import { Type } from 'typebox'
import { gelu, relu, scale, tanh } from '../graph/operators.js'
import type { PetlKind } from './module.js'
import { layOutFor, packedProduct, product } from './products.js'
import { moduleSize } from './sizes.js'

const adapterActivations = { relu, gelu, tanh }

const schema = Type.Object({
  /** r */
  bottleneck: moduleSize,
  activation: Type.Union([Type.Literal('relu'), Type.Literal('gelu'), Type.Literal('tanh')]),
  scaling: Type.Number(),
})

/**
 * With x the input of the feed-forward block, f its output and h = LN(f + x):
 * u = (act(h · downᵀ + b_down) · upᵀ + b_up) · scaling, and the layer returns LN(u + f + x). Layers that do not normalise
 * this sum (pre-norm) have no LN here: h = f + x, and they return u + f + x.
 */
export const adapter: PetlKind<typeof schema> = {
  schema,
  expected: '{"bottleneck", "activation", "scaling"} with a whole number from 1 as bottleneck',

  options: {
    bottleneck: { flags: '--bottleneck <size>', meaning: 'inner size of an adapter (default: 32)', value: 'size' },
    activation: {
      flags: '--activation <name>',
      meaning: 'activation of an adapter (default: relu)',
      value: Object.keys(adapterActivations),
    },
  },
  weightRate: 0.003,

  complete: ({ bottleneck = 32, activation = 'relu', scaling = 1 }) => ({ bottleneck, activation, scaling }),

  build: ({ bottleneck: r, activation, scaling }, H) => ({
    maskable: [
      { name: 'down.weight', shape: [r, H] },
      { name: 'up.weight', shape: [H, r] },
    ],
    unmasked: [
      { name: 'down.bias', shape: [r], beginsAtZero: true },
      { name: 'up.bias', shape: [H], beginsAtZero: true },
    ],
    layer(g, weights, packing) {
      const down = weights('down.weight')
      return {
        feedForward(sum, norm) {
          const h = layOutFor(g, norm(sum), down, packing)
          const d = adapterActivations[activation](g, product(g, h, down, weights('down.bias')))
          const u = packedProduct(g, d, weights('up.weight'), packing, weights('up.bias'))
          return scaling === 1 ? u : scale(g, u, scaling)
        },
      }
    },
  }),
}
