// A convolution over the tokens of each row, with the weights of a checkpoint.

import type { Value } from '../../graph/graph.js'
import { convolution, exp, mul, reshape, transpose } from '../../graph/operators.js'
import { pack, pad } from '../../graph/packing.js'
import type { EncoderInputs } from '../architecture.js'
import type { Weights } from '../weights.js'

export interface ConvolutionShape {
  /** Tokens that an output depends on; odd. */
  readonly kernelSize: number
  readonly groups: number
}

/**
 * @param name the tensors are `<name>.weight` [H,H/groups,kernelSize] and `<name>.bias` [H]
 * @param x packed [T,H]
 * @returns packed [T,H]
 */
export function convolutionLayer(
  weights: Weights,
  name: string,
  x: Value,
  { kernelSize, groups }: ConvolutionShape,
  { packing, keyBias }: Pick<EncoderInputs, 'packing' | 'keyBias'>,
): Value {
  const g = weights.graph
  const H = x.shape[1] as number
  // The tokens after the end of a row count as zeros. The key bias is 0 at tokens, and exp of it is 0 at padding.
  const present = exp(g, reshape(g, keyBias, ['B', 'S', 1]))
  const padded = transpose(g, mul(g, pad(g, x, packing), present), [0, 2, 1])
  const weight = weights.float(`${name}.weight`, [H, H / groups, kernelSize])
  const convolved = convolution(g, padded, weight, weights.float(`${name}.bias`, [H]), groups)
  return pack(g, transpose(g, convolved, [0, 2, 1]), packing)
}
