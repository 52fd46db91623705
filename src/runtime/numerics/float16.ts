// Half precision, except for statistics, pooling and sums. Its fused operators have kernels only on CUDA.

import { keyBiasName } from '../../backbones/encoder.js'
import { fuseAttention, packAttention, padByOffset } from '../../graph/passes/attention.js'
import { fuseEmbeddings, fuseGelu, fuseNorms, fuseTransposedProducts } from '../../graph/passes/fuse.js'
import { toFloat16 } from '../../graph/passes/half.js'
import { nameOutputs, type Pass } from '../../graph/passes/rewrite.js'
import { poolWeightsName } from '../serving-graph.js'
import type { NumberFormat } from './number-format.js'

export const float16Passes: readonly Pass[] = [
  packAttention(keyBiasName),
  fuseAttention,
  padByOffset,
  fuseTransposedProducts,
  fuseEmbeddings,
  fuseNorms,
  fuseGelu,
  toFloat16(new Set([poolWeightsName])),
  nameOutputs,
]

export const float16: NumberFormat = {
  // The embedding tables are float16 already, so lookups need no conversion.
  traits: { bank: 'uint8', gatherHalf: false },
  passes: () => float16Passes,
  hasUsualGraph: true,
  overflows: true,
}
