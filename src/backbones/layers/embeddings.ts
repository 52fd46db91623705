// The embeddings of BERT and its relatives: the normalised sum of a word, a position and possibly a token type embedding.

import type { Value } from '../../graph/graph.js'
import { add } from '../../graph/operators.js'
import type { EncoderInputs } from '../architecture.js'
import type { Weights } from '../weights.js'
import { normLayer } from './norm.js'

export interface EmbeddingShape {
  readonly vocabulary: number
  readonly width: number
  readonly positions: {
    /** Entries of the table in the file. */
    readonly count: number
    /** The entry of a text's first token. Entries before it are never used. */
    readonly first: number
  }
  /** Entries of the table of token types. Absent: there is no such table. */
  readonly types?: number
  readonly normEpsilon: number
}

/** @returns packed [T,width] */
export function embeddings(weights: Weights, shape: EmbeddingShape, inputs: EncoderInputs): Value {
  const { vocabulary, width, positions, types, normEpsilon } = shape
  const g = weights.graph
  const words = weights.lookUp('word_embeddings.weight', [vocabulary, width], inputs.inputIds)
  const position = weights.lookUp(
    'position_embeddings.weight',
    [positions.count, width],
    inputs.positionIds,
    positions.first,
  )
  const typed = types === undefined ? words : add(g, words, typeEmbeddings(weights, types, width, inputs))
  const norm = normLayer(weights, 'LayerNorm', width, normEpsilon)
  return norm(add(g, typed, position))
}

/** A model with one type gives it to every token and ignores the types of the tokenizer. */
function typeEmbeddings(weights: Weights, types: number, width: number, { tokenTypeIds }: EncoderInputs): Value {
  const name = 'token_type_embeddings.weight'
  return types === 1 ? weights.float(name, [1, width]) : weights.lookUp(name, [types, width], tokenTypeIds)
}
