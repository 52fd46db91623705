// Which rows go together in a batch, and a batch as the inputs of its graph.

import type { NumberArray } from '../runtime/graph-session.js'
import type { PackedRows } from '../runtime/packed-rows.js'
import { type EncodedExample, type Subset, tokenCount } from './example-set.js'
import type { Loss } from './losses.js'
import type { Random } from './random.js'
import { noToken } from './word-table.js'

export type GraphInputs = Readonly<Record<string, NumberArray>>

/** What an encoder's graph takes. */
export function textInputs(texts: PackedRows): GraphInputs {
  const { rows: B, longest: S, tokens: T } = texts
  return {
    input_ids: { shape: [T], data: texts.inputIds },
    token_type_ids: { shape: [T], data: texts.tokenTypeIds },
    position_ids: { shape: [T], data: texts.positionIds },
    padded_index: { shape: [B, S], data: texts.paddedIndex },
    packed_index: { shape: [T], data: texts.packedIndex },
    key_bias: { shape: [B, 1, 1, S], data: texts.keyBias },
  }
}

/** What pooling takes. */
export const poolInputs = ({ rows: B, longest: S, poolWeights }: PackedRows): GraphInputs => ({
  pool_weights: { shape: [B, 1, S], data: poolWeights },
})

/** What looking up the first tokens of words takes; a word that has none gets its text's first. */
export function wordInputs(rows: readonly EncodedExample[]): GraphInputs {
  let first = 0
  const index = rows.flatMap((row) => {
    const start = first
    first += exampleTokens(row)
    return Array.from(row.words ?? [], (token) => start + (token === noToken ? 0 : token))
  })
  return { word_index: { shape: [index.length], data: Int32Array.from(index) } }
}

/**
 * Targets [N,C], each with its weight.
 * @param weights [N]: the part of each in the loss
 */
export const targetInputs = (targets: Float32Array, weights: Float32Array): GraphInputs => ({
  targets: { shape: [weights.length, targets.length / weights.length], data: targets },
  target_weights: { shape: [weights.length, 1], data: weights },
})

/** The part of each target of a batch in its loss, [N]: all the same, but 0 for a word that has no token. */
export function targetWeights(rows: readonly EncodedExample[], loss: Loss, outputs: number): Float32Array {
  const present = rows.flatMap(({ words }) => (words ? Array.from(words, (token) => +(token !== noToken)) : [1]))
  const count = present.reduce((sum, own) => sum + own, 0)
  const weight = count === 0 ? 0 : loss.weight(count, outputs)
  return Float32Array.from(present, (own) => own * weight)
}

/** Units of a row: its words, or itself. */
export const labelCount = ({ words }: EncodedExample): number => words?.length ?? 1

/** Tokens of a row. */
export const exampleTokens = ({ texts }: EncodedExample): number =>
  texts.reduce((sum, { inputIds }) => sum + inputIds.length, 0)

/**
 * A list of rows cut into as few pieces of about equal size as keep each at `maxTokens`, give or take its last row.
 */
export function splitByTokens(
  rows: number,
  tokensAt: (at: number) => number,
  maxTokens: number,
): readonly { readonly start: number; readonly end: number }[] {
  let total = 0
  for (let at = 0; at < rows; at++) total += tokensAt(at)
  const share = total / Math.ceil(total / maxTokens)
  const found: { start: number; end: number }[] = []
  let start = 0
  let tokens = 0
  for (let at = 0; at < rows; at++) {
    tokens += tokensAt(at)
    if (tokens < share * (found.length + 1) && at < rows - 1) continue
    found.push({ start, end: at + 1 })
    start = at + 1
  }
  return found
}

/** Batches whose rows are sorted by length together. Fewer would pad more, more would shuffle less. */
const batchesPerBucket = 32

/** An epoch: every row once, rows of like length together, all of it in random order. */
export function shuffledBatches(
  { set: data, examples: rows }: Subset,
  batchRows: number,
  random: Random,
): Int32Array[] {
  const order = random.order(rows.length).map((at) => rows[at] ?? 0)
  const batches: Int32Array[] = []
  for (let start = 0; start < order.length; start += batchRows * batchesPerBucket) {
    const bucket = order.subarray(start, start + batchRows * batchesPerBucket)
    bucket.sort((a, b) => tokenCount(data, a) - tokenCount(data, b))
    for (let at = 0; at < bucket.length; at += batchRows) batches.push(bucket.subarray(at, at + batchRows))
  }
  return Array.from(random.order(batches.length), (at) => batches[at] ?? new Int32Array())
}

/** All rows, longest first, in batches of about so many tokens. */
export function batchesByTokens({ set: data, examples: rows }: Subset, maxTokens: number): Int32Array[] {
  const order = rows.slice().sort((a, b) => tokenCount(data, b) - tokenCount(data, a))
  const tokensAt = (at: number) => tokenCount(data, order[at] ?? 0)
  return splitByTokens(order.length, tokensAt, maxTokens).map(({ start, end }) => order.subarray(start, end))
}
