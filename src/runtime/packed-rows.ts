// The rows of a batch as the input arrays of the graph, as plain data without tensors. Rows are packed: dense layers compute
// no padding.

import type { Pooling } from '../petl/task.js'

/** A tokenised text. */
export interface TokenRow {
  readonly inputIds: ArrayLike<number>
  readonly tokenTypeIds: ArrayLike<number>
  readonly pooling: Pooling
  /** Whether the bare backbone computes the row, without the module. */
  readonly bare?: boolean
}

/** The graph's inputs for B rows with T tokens in total; the longest row has S tokens. */
export interface PackedRows {
  /** B */
  readonly rows: number
  /** S */
  readonly longest: number
  /** T */
  readonly tokens: number
  /** [T], like the next two. */
  readonly inputIds: Int32Array<ArrayBuffer>
  readonly tokenTypeIds: Int32Array<ArrayBuffer>
  readonly positionIds: Int32Array<ArrayBuffer>
  /** [B,S]: the packed token at each position of the padded rows. */
  readonly paddedIndex: Int32Array<ArrayBuffer>
  /** [T]: the position of each packed token in the padded rows. */
  readonly packedIndex: Int32Array<ArrayBuffer>
  /** [B,S]: packedIndex, followed by the positions of the padding. */
  readonly tokenOffset: Int32Array<ArrayBuffer>
  /** [B+1]: the number of tokens before each row, and T. */
  readonly cumulativeLengths: Int32Array<ArrayBuffer>
  /** [B,1,1,S] */
  readonly keyBias: Float32Array<ArrayBuffer>
  /** [B,1,S]: the pooled vector of a row is poolWeights · its hidden states. 0 for rows that are pooled by their maximum. */
  readonly poolWeights: Float32Array<ArrayBuffer>
  /** [B,1,1]: 0 for bare rows, otherwise 1. */
  readonly hasModule: Float32Array<ArrayBuffer>
}

/** Added to the attention scores of padding. exp(x − 10,000) is 0 in float32 relative to any real score. */
const paddingBias = -10_000

/**
 * @param computePadding treats padding as tokens, so that dense layers compute it too, as a server without packing does.
 *   Only the benchmark uses it.
 */
export function packRows(rows: readonly TokenRow[], computePadding = false): PackedRows {
  const B = rows.length
  const S = rows.reduce((longest, row) => Math.max(longest, row.inputIds.length), 0)
  const T = computePadding ? B * S : rows.reduce((sum, row) => sum + row.inputIds.length, 0)
  // All arrays share one buffer, which is transferred to the engine's thread without a copy.
  const buffer = new ArrayBuffer(4 * (3 * T + 4 * B * S + 2 * B + 1))
  let place = 0
  const next = <A>(View: new (buffer: ArrayBuffer, start: number, length: number) => A, length: number): A => {
    const view = new View(buffer, place, length)
    place += 4 * length
    return view
  }
  const [inputIds, tokenTypeIds, positionIds] = [next(Int32Array, T), next(Int32Array, T), next(Int32Array, T)]
  const [paddedIndex, tokenOffset] = [next(Int32Array, B * S), next(Int32Array, B * S)]
  const cumulativeLengths = next(Int32Array, B + 1)
  const [keyBias, poolWeights] = [next(Float32Array, B * S), next(Float32Array, B * S)]
  const hasModule = next(Float32Array, B)
  let first = 0
  let padding = T
  for (const [b, row] of rows.entries()) {
    const length = row.inputIds.length
    const laidOut = computePadding ? S : length
    inputIds.set(row.inputIds, first)
    tokenTypeIds.set(row.tokenTypeIds, first)
    const start = b * S
    for (let s = 0; s < laidOut; s++) {
      positionIds[first + s] = s
      tokenOffset[first + s] = start + s
      paddedIndex[start + s] = first + s
    }
    for (let s = laidOut; s < S; s++) {
      tokenOffset[padding++] = start + s
      paddedIndex[start + s] = first
    }
    keyBias.fill(paddingBias, start + length, start + S)
    if (row.pooling === 'mean') poolWeights.fill(1 / length, start, start + length)
    else if (row.pooling === 'cls') poolWeights[start] = 1
    else if (row.pooling === 'last') poolWeights[start + length - 1] = 1
    hasModule[b] = row.bare ? 0 : 1
    first += laidOut
    cumulativeLengths[b + 1] = first
  }
  return {
    rows: B,
    longest: S,
    tokens: T,
    inputIds,
    tokenTypeIds,
    positionIds,
    paddedIndex,
    packedIndex: tokenOffset.subarray(0, T),
    tokenOffset,
    cumulativeLengths,
    keyBias,
    poolWeights,
    hasModule,
  }
}

/** Makes a new batch of some rows of a batch. */
export function selectRows(rows: PackedRows, wanted: readonly number[]): PackedRows {
  const { longest, cumulativeLengths, inputIds, tokenTypeIds, poolWeights, hasModule } = rows
  return packRows(
    wanted.map((b): TokenRow => {
      const [first, end] = [cumulativeLengths[b] ?? 0, cumulativeLengths[b + 1] ?? 0]
      return {
        inputIds: inputIds.subarray(first, end),
        tokenTypeIds: tokenTypeIds.subarray(first, end),
        pooling: poolingOf(poolWeights.subarray(b * longest, b * longest + end - first)),
        bare: hasModule[b] === 0,
      }
    }),
  )
}

/** The pooling that gave a row its weights. For a row of one token, all but `max` give the same. */
function poolingOf(weights: Float32Array): Pooling {
  if (weights[0] === 1) return 'cls'
  if (weights[0] !== 0) return 'mean'
  return weights.at(-1) === 1 ? 'last' : 'max'
}
