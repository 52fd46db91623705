// The adapter after a layer's feed-forward block (Houlsby et al. 2019; placement of Pfeiffer et al. 2021; paper,
// section 3.1).

import { gelu, relu, scale, tanh } from '../graph/operators.js'
import type { PetlModule } from './module.js'
import { layOutFor, packedProduct, product } from './products.js'

export interface AdapterConfig {
  readonly kind: 'adapter'
  /** r */
  readonly bottleneck: number
  readonly activation: 'relu' | 'gelu' | 'tanh'
  readonly scaling: number
}

const adapterActivations = { relu, gelu, tanh }

/**
 * With x the block's input, f its output and h = LN(f + x):
 * u = (act(h · downᵀ + b_down) · upᵀ + b_up) · scaling; LN(u + f + x) is the layer's output.
 */
export const adapter = ({ bottleneck: r, activation, scaling }: AdapterConfig, H: number): PetlModule => ({
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
})
