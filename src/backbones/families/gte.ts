// GTE (Zhang et al. 2024, arXiv 2407.19669): BERT with rotary positions and gated feed-forward blocks.

import type { Architecture, Family } from '../architecture.js'
import type { ConfigFile } from '../config-file.js'
import { fusedProjections, rotaryContext } from '../layers/attention.js'
import { embeddings } from '../layers/embeddings.js'
import { type PostNormNames, postNormLayer } from '../layers/post-norm-layer.js'
import { readBertLayers } from './fields.js'
import { readHeadSize, readRotary } from './rotary-fields.js'

const names: PostNormNames = {
  ...fusedProjections('attention.qkv_proj', true),
  attentionOutput: 'attention.o_proj',
  attentionNorm: 'attn_ln',
  inner: { name: 'mlp.up_gate_proj', bias: false, part: { at: 0, of: 2 } },
  gate: { name: 'mlp.up_gate_proj', bias: false, part: { at: 1, of: 2 } },
  outer: 'mlp.down_proj',
  outputNorm: 'mlp_ln',
}

function gteArchitecture(config: ConfigFile, prefix: string, theta: number): Architecture {
  config.only('position_embedding_type', 'rope')
  config.only('layer_norm_type', 'layer_norm')
  config.only('logn_attention_scale', false)
  config.only('pack_qkv', true)
  const { hiddenSize, layers, ...shape } = readBertLayers(config)
  const frequencies = readRotary(config, readHeadSize(config, { hiddenSize, heads: shape.heads }), theta)
  const vocabulary = config.size('vocab_size')
  const maxTokens = config.size('max_position_embeddings')
  const types = config.index('type_vocab_size', 1)
  const embeddingShape = { vocabulary, width: hiddenSize, ...(types > 0 && { types }), norm: shape }
  return {
    dims: { hiddenSize, layers, vocabulary, maxTokens },
    tokenTypes: types,
    specialIds: new Map(),
    prefix,
    build(weights, inputs, hooks) {
      const context = rotaryContext(weights.graph, inputs, 'rotary', frequencies, maxTokens)
      let hidden = embeddings(weights.below('embeddings'), embeddingShape, inputs)
      for (let layer = 0; layer < layers; layer++)
        hidden = postNormLayer(weights.below(`encoder.layer.${layer}`), names, hidden, shape, context, hooks(layer))
      return hidden
    },
  }
}

export const gte: Family = (config) => gteArchitecture(config, 'gte.', 160_000)

/** The model_type of directories from before `transformers` had the family. */
export const newGte: Family = (config) => gteArchitecture(config, 'new.', 10_000)
