// Fields of config.json that several families have, with their checks.

import type { ConfigFile } from '../config-file.js'
import { hiddenActivations } from '../layers/activations.js'
import type { Positions } from '../layers/embeddings.js'
import type { LayerShape } from '../layers/layer-shape.js'

/** @throws Problem `invalid_backbone` if the hidden size does not divide into the heads */
export function readHeads(
  config: ConfigFile,
  sizeField: string,
  headsField: string,
): { readonly hiddenSize: number; readonly heads: number } {
  const hiddenSize = config.size(sizeField)
  const heads = config.size(headsField)
  if (hiddenSize % heads !== 0)
    config.throwInvalidConfig(`${sizeField} ${hiddenSize} is not a multiple of ${headsField} ${heads}`)
  return { hiddenSize, heads }
}

/**
 * The table of position embeddings.
 * @param first the entry of a text's first token
 * @throws Problem `invalid_backbone` if no entry is left for a token
 */
export function readPositions(
  config: ConfigFile,
  first = 0,
): { readonly positions: Positions; readonly maxTokens: number } {
  config.only('position_embedding_type', 'absolute')
  const count = config.size('max_position_embeddings')
  if (count <= first)
    config.throwInvalidConfig(
      `max_position_embeddings is ${count}; expected more than ${first}, because the positions of a text start there`,
    )
  return { positions: { count, first }, maxTokens: count - first }
}

/** The layers of BERT and of the families that name them as BERT does. */
export function readBertLayers(
  config: ConfigFile,
  normEpsilon = 1e-12,
): LayerShape & { readonly hiddenSize: number; readonly layers: number } {
  return {
    ...readHeads(config, 'hidden_size', 'num_attention_heads'),
    layers: config.size('num_hidden_layers'),
    intermediateSize: config.size('intermediate_size'),
    activation: config.choice('hidden_act', hiddenActivations, 'gelu'),
    normEpsilon: config.positive('layer_norm_eps', normEpsilon),
  }
}

/** Ids of the tokens at the start and the end of a text. Configs of BERT models often have ids of other models here. */
export const boundaryIds = (config: ConfigFile): ReadonlyMap<string, number> =>
  config.indexes('bos_token_id', 'eos_token_id')
