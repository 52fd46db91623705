// LoRA on the query and value projections (Hu et al. 2021; paper, section 3.1).

import { Type } from 'typebox'
import { scale } from '../graph/operators.js'
import type { PetlKind } from './module.js'
import { layOutFor, packedProduct, product } from './products.js'
import { moduleSize } from './sizes.js'

const schema = Type.Object({
  /** r */
  rank: moduleSize,
  alpha: Type.Number(),
})

/** q = x·W_qᵀ + b_q + (alpha/r) · (x·A_qᵀ)·B_qᵀ, and the value likewise. B starts at zero, and so does the addition. */
export const lora: PetlKind<typeof schema> = {
  schema,
  expected: '{"rank", "alpha"} with a whole number from 1 as rank',

  options: {
    rank: { flags: '--rank <size>', meaning: 'rank of LoRA (default: 16)', value: 'size' },
    alpha: {
      flags: '--alpha <number>',
      meaning: 'LoRA is scaled by alpha/rank (default: 1.5 × rank)',
      value: 'positive',
    },
  },
  weightRate: 0.003,

  complete: ({ rank = 16, alpha = 1.5 * rank }) => ({ rank, alpha }),

  build: ({ rank: r, alpha }, H) => ({
    maskable: ['query', 'value'].flatMap((part) => [
      { name: `${part}.A`, shape: [r, H] },
      { name: `${part}.B`, shape: [H, r], beginsAtZero: true },
    ]),
    unmasked: [],
    layer(g, weights, packing) {
      return {
        projections(x) {
          const input = layOutFor(g, x, weights('query.A'), packing)
          const addition = (part: string) => {
            const low = scale(g, product(g, input, weights(`${part}.A`)), alpha / r)
            return packedProduct(g, low, weights(`${part}.B`), packing)
          }
          return { query: addition('query'), value: addition('value') }
        },
      }
    },
  }),
}
