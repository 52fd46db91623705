// Single precision.

import { fuseTransposedProducts } from '../../graph/passes/fuse.js'
import type { NumberFormat } from './number-format.js'

export const float32: NumberFormat = {
  passes: ({ fusesTransposed }) => (fusesTransposed ? [fuseTransposedProducts] : []),
  hasUsualGraph: false,
  overflows: false,
}
