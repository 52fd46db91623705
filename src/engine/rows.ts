// The rows of a batch as the arrays that the graph takes. Plain data: no tensor, no session.

import type { Pooling } from '../formats/task-file.js'

/** A tokenised text. */
export interface TokenRow {
  readonly inputIds: ArrayLike<number>
  readonly tokenTypeIds: ArrayLike<number>
  readonly pooling: Pooling
}

/** The graph's inputs for B rows of T tokens together, the longest of S. */
export interface PackedRows {
  readonly rows: number
  readonly longest: number
  readonly tokens: number
  /** [T] each. */
  readonly inputIds: Int32Array<ArrayBuffer>
  readonly tokenTypeIds: Int32Array<ArrayBuffer>
  readonly positionIds: Int32Array<ArrayBuffer>
  /** [B,S]: packed token at each place of the padded rows. */
  readonly paddedIndex: Int32Array<ArrayBuffer>
  /** [T]: place of each packed token in the padded rows. */
  readonly packedIndex: Int32Array<ArrayBuffer>
  /** [B,1,1,S] */
  readonly keyBias: Float32Array<ArrayBuffer>
  /** [B,1,S]: pooled row = pool_weights · hidden states of the row. */
  readonly poolWeights: Float32Array<ArrayBuffer>
}

/** Added to the attention scores of padding: exp(x − 10,000) is 0 in float32 beside any real score. */
const paddingBias = -10_000

/**
 * @param computePadding lay padding out as tokens of its own, so that dense layers compute it as well. What a server
 *   without packing does; only the benchmark asks for it.
 */
export function packRows(rows: readonly TokenRow[], computePadding = false): PackedRows {
  const B = rows.length
  const S = rows.reduce((longest, row) => Math.max(longest, row.inputIds.length), 0)
  const T = computePadding ? B * S : rows.reduce((sum, row) => sum + row.inputIds.length, 0)
  const inputIds = new Int32Array(T)
  const tokenTypeIds = new Int32Array(T)
  const positionIds = new Int32Array(T)
  const paddedIndex = new Int32Array(B * S)
  const packedIndex = new Int32Array(T)
  const keyBias = new Float32Array(B * S)
  const poolWeights = new Float32Array(B * S)
  let first = 0
  rows.forEach((row, b) => {
    const length = row.inputIds.length
    const laidOut = computePadding ? S : length
    inputIds.set(row.inputIds, first)
    tokenTypeIds.set(row.tokenTypeIds, first)
    for (let s = 0; s < laidOut; s++) {
      positionIds[first + s] = s
      packedIndex[first + s] = b * S + s
    }
    for (let s = 0; s < S; s++) paddedIndex[b * S + s] = first + (s < laidOut ? s : 0)
    keyBias.fill(paddingBias, b * S + length, (b + 1) * S)
    if (row.pooling === 'mean') poolWeights.fill(1 / length, b * S, b * S + length)
    else poolWeights[b * S] = 1
    first += laidOut
  })
  return {
    rows: B,
    longest: S,
    tokens: T,
    inputIds,
    tokenTypeIds,
    positionIds,
    paddedIndex,
    packedIndex,
    keyBias,
    poolWeights,
  }
}
