// LoRA on the query and value projections (Hu et al. 2021; paper, section 3.1).

import { scale } from '../graph/operators.js'
import type { PetlModule } from './module.js'
import { layOutFor, packedProduct, product } from './products.js'

export interface LoraConfig {
  readonly kind: 'lora'
  /** r */
  readonly rank: number
  readonly alpha: number
}

/** q = x·W_qᵀ + b_q + (alpha/r) · (x·A_qᵀ)·B_qᵀ, and the value likewise. B begins at zero: so does what it adds. */
export const lora = ({ rank: r, alpha }: LoraConfig, H: number): PetlModule => ({
  maskable: ['query', 'value'].flatMap((part) => [
    { name: `${part}.A`, shape: [r, H] },
    { name: `${part}.B`, shape: [H, r], beginsAtZero: true },
  ]),
  unmasked: [],
  layer(g, weights, packing) {
    return {
      projections(x) {
        const rows = layOutFor(g, x, weights('query.A'), packing)
        const gain = (part: string) => {
          const low = scale(g, product(g, rows, weights(`${part}.A`)), alpha / r)
          return packedProduct(g, low, weights(`${part}.B`), packing)
        }
        return { query: gain('query'), value: gain('value') }
      },
    }
  },
})
