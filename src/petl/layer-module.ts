// What a module may do to one layer of an encoder. The encoder knows these places and no module; a module fills those
// that it has to do with.

import type { Value } from '../graph/graph.js'

export interface LayerModule {
  /**
   * What the query and value projections of the layer's input gain.
   * @param x the layer's input, packed [T,H]
   * @returns packed [T,H] each
   */
  readonly projections?: (x: Value) => { readonly query: Value; readonly value: Value }
  /** Keys and values beside the row's own, that every token attends to: [B,P,H] each. */
  readonly prefix?: { readonly keys: Value; readonly values: Value }
  /**
   * The output of the feed-forward block, before it is added to x and normalised.
   * @param x the block's input, packed [T,H]
   * @param f the block's output, packed [T,H]
   * @param norm the normalisation that the layer applies to their sum
   */
  readonly feedForward?: (x: Value, f: Value, norm: (value: Value) => Value) => Value
}

/** The module of every layer. */
export type LayerModules = (layer: number) => LayerModule
