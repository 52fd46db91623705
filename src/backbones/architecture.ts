// What a family makes of a config.json: the dimensions that the rest of the server uses, what the tokenizer must agree
// with, and the function that builds the graph. All other fields of the config stay inside the family.

import type { Value } from '../graph/graph.js'
import type { Packing } from '../graph/packing.js'
import type { ConfigFile } from './config-file.js'
import type { EncoderHooks } from './layer-hooks.js'
import type { Weights } from './weights.js'

export interface Dimensions {
  readonly hiddenSize: number
  readonly layers: number
  /** Entries of the table of word embeddings. */
  readonly vocabulary: number
  /** Tokens of the longest text that the encoder takes, special tokens included. */
  readonly maxTokens: number
}

export interface EncoderInputs {
  /** int32 [T]. */
  readonly inputIds: Value
  /** int32 [T]. Families without token types ignore it. */
  readonly tokenTypeIds: Value
  /** int32 [T]: the position of a token in its row, counted from 0 in every family. */
  readonly positionIds: Value
  /** float32 [B,1,1,S]: 0 at the tokens of a row, a large negative number at its padding. */
  readonly keyBias: Value
  readonly packing: Packing
}

export interface Architecture {
  readonly dims: Dimensions
  /** How many token types the model distinguishes. 0 or 1 if it does not use the types of the tokenizer. */
  readonly tokenTypes: number
  /** Ids of special tokens, by the config fields that name them. Empty if such configs are often wrong. */
  readonly specialIds: ReadonlyMap<string, number>
  /** The start of the encoder's tensor names in checkpoints that also contain a head, such as `bert.`. */
  readonly prefix: string
  /**
   * Adds the encoder to the weights' graph.
   * @returns the hidden states of the last layer, packed [T,H]
   * @throws Problem `invalid_backbone` for the first tensor that is missing or has another shape or type
   */
  build(weights: Weights, inputs: EncoderInputs, hooks: EncoderHooks): Value
}

/** @throws Problem `invalid_backbone` for a field that is missing, invalid or not supported */
export type Family = (config: ConfigFile) => Architecture
