// The rows of a batch as the tensors that a session takes.

import { type InferenceSession, Tensor } from 'onnxruntime-node'
import type { PackedRows } from './packed-rows.js'
import { hasModuleName, poolWeightsName } from './serving-graph.js'

/**
 * The inputs of a session. Inputs that its graph does not use are left out, because onnxruntime rejects them.
 * @param bank the inputs of the bank; absent for a bare backbone
 */
export function feedsFor(
  { inputNames }: Pick<InferenceSession, 'inputNames'>,
  rows: PackedRows,
  bank?: InferenceSession.FeedsType,
): InferenceSession.FeedsType {
  const all = { ...feedsOf(rows), ...bank }
  return Object.fromEntries(Object.entries(all).filter(([name]) => inputNames.includes(name)))
}

/** The arrays of the rows as tensors, by the names of the graph's inputs. */
export function feedsOf(rows: PackedRows): Readonly<Record<string, Tensor>> {
  const { rows: B, longest: S, tokens: T } = rows
  return {
    input_ids: new Tensor('int32', rows.inputIds, [T]),
    token_type_ids: new Tensor('int32', rows.tokenTypeIds, [T]),
    position_ids: new Tensor('int32', rows.positionIds, [T]),
    padded_index: new Tensor('int32', rows.paddedIndex, [B, S]),
    packed_index: new Tensor('int32', rows.packedIndex, [T]),
    token_offset: new Tensor('int32', rows.tokenOffset, [B, S]),
    cumulative_lengths: new Tensor('int32', rows.cumulativeLengths, [B + 1]),
    key_bias: new Tensor('float32', rows.keyBias, [B, 1, 1, S]),
    [poolWeightsName]: new Tensor('float32', rows.poolWeights, [B, 1, S]),
    [hasModuleName]: new Tensor('float32', rows.hasModule, [B, 1, 1]),
  }
}
