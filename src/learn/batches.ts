// Which rows go together in a batch, and a batch as the inputs of its graph.

import type { NumberArray } from '../engine/graph-session.js'
import type { PackedRows } from '../engine/rows.js'
import type { Part } from './data-set.js'
import type { LearnableProblem } from './labels.js'
import type { Random } from './random.js'

export type GraphInputs = Readonly<Record<string, NumberArray>>

/** What an encoder's graph and its pooling take. */
export function rowInputs(rows: PackedRows): GraphInputs {
  const { rows: B, longest: S, tokens: T } = rows
  return {
    input_ids: { shape: [T], data: rows.inputIds },
    token_type_ids: { shape: [T], data: rows.tokenTypeIds },
    position_ids: { shape: [T], data: rows.positionIds },
    padded_index: { shape: [B, S], data: rows.paddedIndex },
    packed_index: { shape: [T], data: rows.packedIndex },
    key_bias: { shape: [B, 1, 1, S], data: rows.keyBias },
    pool_weights: { shape: [B, 1, S], data: rows.poolWeights },
  }
}

/**
 * Targets [B,C], every row with the same weight.
 * @param weight the part of a row in the loss
 */
export function targetInputs(targets: Float32Array, rows: number, weight: number): GraphInputs {
  return {
    targets: { shape: [rows, targets.length / rows], data: targets },
    row_weights: { shape: [rows, 1], data: new Float32Array(rows).fill(weight) },
  }
}

/** The loss is the mean over rows and, where several labels may apply, over labels. */
export const rowWeight = (problem: LearnableProblem, rows: number, outputs: number): number =>
  1 / (problem === 'multi_label_classification' ? rows * outputs : rows)

/**
 * A list of rows cut into as few pieces of about equal size as keep each at `maxTokens`, give or take its last row.
 */
export function pieces(
  rows: number,
  lengthOf: (at: number) => number,
  maxTokens: number,
): readonly { readonly start: number; readonly end: number }[] {
  let total = 0
  for (let at = 0; at < rows; at++) total += lengthOf(at)
  const share = total / Math.ceil(total / maxTokens)
  const found: { start: number; end: number }[] = []
  let start = 0
  let tokens = 0
  for (let at = 0; at < rows; at++) {
    tokens += lengthOf(at)
    if (tokens < share * (found.length + 1) && at < rows - 1) continue
    found.push({ start, end: at + 1 })
    start = at + 1
  }
  return found
}

/** Batches whose rows are sorted by length together. Fewer would pad more, more would shuffle less. */
const bucketBatches = 32

/** An epoch: every row once, rows of like length together, all of it in random order. */
export function shuffledBatches({ data, rows }: Part, batchRows: number, random: Random): Int32Array[] {
  const order = random.order(rows.length).map((at) => rows[at] ?? 0)
  const batches: Int32Array[] = []
  for (let start = 0; start < order.length; start += batchRows * bucketBatches) {
    const bucket = order.subarray(start, start + batchRows * bucketBatches)
    bucket.sort((a, b) => data.tokens.length(a) - data.tokens.length(b))
    for (let at = 0; at < bucket.length; at += batchRows) batches.push(bucket.subarray(at, at + batchRows))
  }
  return Array.from(random.order(batches.length), (at) => batches[at] ?? new Int32Array())
}

/** All rows, longest first, in batches of about so many tokens. */
export function batchesByTokens({ data, rows }: Part, maxTokens: number): Int32Array[] {
  const order = rows.slice().sort((a, b) => data.tokens.length(b) - data.tokens.length(a))
  const lengthOf = (at: number) => data.tokens.length(order[at] ?? 0)
  return pieces(order.length, lengthOf, maxTokens).map(({ start, end }) => order.subarray(start, end))
}
