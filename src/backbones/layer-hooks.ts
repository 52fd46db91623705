// The places of an encoder layer where a module (PETL) may change what the layer computes. The families call these hooks;
// they know no module.

import type { Value } from '../graph/graph.js'

export interface AttentionPrefix {
  /** [B,P,H], like the values. */
  readonly keys: Value
  readonly values: Value
  /** Added to the scores of the keys: [B,1,1,1]. Default: 0. */
  readonly bias?: Value
}

export interface LayerHooks {
  /**
   * Additions to the query and value projections, before rotary positions.
   * @param x the input of the projections, packed [T,H]
   * @returns packed [T,H] each
   */
  readonly projections?: (x: Value) => { readonly query: Value; readonly value: Value }
  /**
   * Keys and values that every token attends to in addition to those of its own row. Rotary
   * positions do not rotate them, and a window of local attention does not hide them.
   */
  readonly prefix?: AttentionPrefix
  /**
   * An addition to the sum of the feed-forward block's input (in pre-norm layers before its normalisation) and output,
   * before that sum is normalised.
   * @param sum packed [T,H]
   * @param norm the normalisation that the layer applies to the sum; in pre-norm layers it changes nothing
   * @returns packed [T,H]
   */
  readonly feedForward?: (sum: Value, norm: (value: Value) => Value) => Value
}

/** The hooks of each layer, by its number. */
export type EncoderHooks = (layer: number) => LayerHooks
