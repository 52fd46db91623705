// Single precision with dense layers of eight-bit integers, which are summed in 32 bits.

import { floatsOf } from '../../backbones/weights.js'
import { fuseTransposedProducts } from '../../graph/passes/fuse.js'
import { quantizeDense } from '../../graph/passes/quantize.js'
import { calibrate } from '../int8-calibration.js'
import { largestExactWeight } from '../int8-range.js'
import type { NumberFormat } from './number-format.js'

export const int8: NumberFormat = {
  passes: async (_, model) => [
    quantizeDense({
      largest: await largestExactWeight(),
      read: floatsOf(model.backbone.weightsFolder),
      ranges: await calibrate(model),
    }),
    fuseTransposedProducts,
  ],
  hasUsualGraph: false,
  overflows: false,
}
