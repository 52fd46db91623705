// The embeddings of BERT and its relatives: the sum of a word, possibly a token type and possibly a position embedding,
// which most families normalise.

import type { Value } from '../../graph/graph.js'
import { add } from '../../graph/operators.js'
import type { EncoderInputs } from '../architecture.js'
import type { Weights } from '../weights.js'
import { type NormShape, normLayer } from './norm.js'

/** The table of positions. */
export interface Positions {
  /** Entries of the table in the file. */
  readonly count: number
  /** The entry of a text's first token. Entries before it are never used. */
  readonly first: number
}

export interface EmbeddingShape {
  readonly vocabulary: number
  readonly width: number
  /** Absent: there is no table of positions. */
  readonly positions?: Positions
  /** Entries of the table of token types. Absent: there is no such table. */
  readonly types?: number
  /** Absent: the sum is not normalised. */
  readonly norm?: NormShape
}

/** The tables and the normalisation. */
export interface EmbeddingNames {
  readonly words: string
  readonly positions: string
  readonly types: string
  readonly norm: string
}

export const bertEmbeddingNames: EmbeddingNames = {
  words: 'word_embeddings',
  positions: 'position_embeddings',
  types: 'token_type_embeddings',
  norm: 'LayerNorm',
}

/** @returns packed [T,width] */
export function embeddings(
  weights: Weights,
  shape: EmbeddingShape,
  inputs: EncoderInputs,
  names = bertEmbeddingNames,
): Value {
  const { vocabulary, width, positions, types, norm } = shape
  const g = weights.graph
  const words = weights.lookUp(`${names.words}.weight`, [vocabulary, width], inputs.inputIds)
  const typed = types === undefined ? words : add(g, words, typeEmbeddings(weights, names.types, types, width, inputs))
  const sum = positions ? add(g, typed, positionEmbeddings(weights, names.positions, positions, width, inputs)) : typed
  return norm ? normLayer(weights, names.norm, width, norm)(sum) : sum
}

const positionEmbeddings = (
  weights: Weights,
  name: string,
  { count, first }: Positions,
  width: number,
  { positionIds }: EncoderInputs,
): Value => weights.lookUp(`${name}.weight`, [count, width], positionIds, first)

/** A model with one type gives it to every token and ignores the types of the tokenizer. */
const typeEmbeddings = (
  weights: Weights,
  name: string,
  types: number,
  width: number,
  { tokenTypeIds }: EncoderInputs,
): Value =>
  types === 1
    ? weights.float(`${name}.weight`, [1, width])
    : weights.lookUp(`${name}.weight`, [types, width], tokenTypeIds)
