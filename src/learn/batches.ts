// Divides examples into batches, and makes the graph inputs of a batch.

import type { NumberArray } from '../runtime/graph-session.js'
import type { PackedRows } from '../runtime/packed-rows.js'
import { type EncodedExample, type Subset, tokenCount } from './example-set.js'
import type { Loss } from './losses.js'
import type { Random } from './random.js'
import { noToken } from './word-table.js'

export type GraphInputs = Readonly<Record<string, NumberArray>>

/** The inputs of an encoder graph. */
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

/** The inputs of pooling. */
export const poolInputs = ({ rows: B, longest: S, poolWeights }: PackedRows): GraphInputs => ({
  pool_weights: { shape: [B, 1, S], data: poolWeights },
})

/** The indexes of the first tokens of words. A word without token gets the first token of its text. */
export function wordInputs(examples: readonly EncodedExample[]): GraphInputs {
  let first = 0
  const index = examples.flatMap((example) => {
    const start = first
    first += exampleTokens(example)
    return Array.from(example.words ?? [], (token) => start + (token === noToken ? 0 : token))
  })
  return { word_index: { shape: [index.length], data: Int32Array.from(index) } }
}

/**
 * The inputs of the loss: targets [N,C] and their weights.
 * @param weights [N], as the loss sums them
 */
export const targetInputs = (targets: Float32Array, weights: Float32Array): GraphInputs => ({
  targets: { shape: [weights.length, targets.length / weights.length], data: targets },
  target_weights: { shape: [weights.length, 1], data: weights },
})

/** Weights of the targets of a batch in its loss, [N]: equal, except that words without token have weight 0. */
export function targetWeights(
  examples: readonly EncodedExample[],
  loss: Pick<Loss, 'weight'>,
  outputs: number,
): Float32Array {
  const present = examples.flatMap(({ words }) => (words ? Array.from(words, (token) => +(token !== noToken)) : [1]))
  const count = present.reduce((sum, isPresent) => sum + isPresent, 0)
  const weight = count === 0 ? 0 : loss.weight(count, outputs)
  return Float32Array.from(present, (isPresent) => isPresent * weight)
}

/** Labels of an example: one, or one per word. */
export const labelCount = ({ words }: EncodedExample): number => words?.length ?? 1

/** Tokens of an example, in all its texts. */
export const exampleTokens = ({ texts }: EncodedExample): number =>
  texts.reduce((sum, { inputIds }) => sum + inputIds.length, 0)

/**
 * Splits a list of items into the fewest parts of about equal size that have at most about `maxTokens` tokens. A part
 * may exceed the limit by its last item.
 */
export function splitByTokens(
  items: number,
  tokensAt: (at: number) => number,
  maxTokens: number,
): readonly { readonly start: number; readonly end: number }[] {
  let total = 0
  for (let at = 0; at < items; at++) total += tokensAt(at)
  const share = total / Math.ceil(total / maxTokens)
  const parts: { start: number; end: number }[] = []
  let start = 0
  let tokens = 0
  for (let at = 0; at < items; at++) {
    tokens += tokensAt(at)
    if (tokens < share * (parts.length + 1) && at < items - 1) continue
    parts.push({ start, end: at + 1 })
    start = at + 1
  }
  return parts
}

/**
 * Batches whose examples are sorted by length together. More would give small data sets nearly the same batches in every
 * epoch; fewer would add padding.
 */
const batchesPerBucket = 4

/** The batches of an epoch, in random order: each example once, examples of similar length together. */
export function shuffledBatches({ set, examples }: Subset, batchSize: number, random: Random): Int32Array[] {
  const order = random.order(examples.length).map((at) => examples[at] ?? 0)
  const batches: Int32Array[] = []
  for (let start = 0; start < order.length; start += batchSize * batchesPerBucket) {
    const bucket = order.subarray(start, start + batchSize * batchesPerBucket)
    bucket.sort((a, b) => tokenCount(set, a) - tokenCount(set, b))
    for (let at = 0; at < bucket.length; at += batchSize) batches.push(bucket.subarray(at, at + batchSize))
  }
  return Array.from(random.order(batches.length), (at) => batches[at] ?? new Int32Array())
}

/** All examples, longest first, in batches of about `maxTokens` tokens. */
export function batchesByTokens({ set, examples }: Subset, maxTokens: number): Int32Array[] {
  const order = examples.slice().sort((a, b) => tokenCount(set, b) - tokenCount(set, a))
  const tokensAt = (at: number) => tokenCount(set, order[at] ?? 0)
  return splitByTokens(order.length, tokensAt, maxTokens).map(({ start, end }) => order.subarray(start, end))
}
