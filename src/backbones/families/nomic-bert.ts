// Nomic BERT (Nussbaum et al. 2024, arXiv 2402.01613): BERT with rotary positions, gated feed-forward blocks and no biases.

import type { Family } from '../architecture.js'
import type { ConfigFile } from '../config-file.js'
import type { Activation } from '../layers/activations.js'
import { hiddenActivations } from '../layers/activations.js'
import { fusedProjections, rotaryContext } from '../layers/attention.js'
import { bertEmbeddingNames, type EmbeddingNames, embeddings } from '../layers/embeddings.js'
import { type PostNormNames, postNormLayer } from '../layers/post-norm-layer.js'
import { readHeads } from './fields.js'
import { readHeadSize, readRotary } from './rotary-fields.js'

const embeddingNames: EmbeddingNames = {
  ...bertEmbeddingNames,
  words: 'embeddings.word_embeddings',
  types: 'embeddings.token_type_embeddings',
  norm: 'emb_ln',
}

const namesOf = ({ attention, inner, outer }: Biases): PostNormNames => ({
  ...fusedProjections('attn.Wqkv', attention),
  attentionOutput: { name: 'attn.out_proj', bias: attention },
  attentionNorm: 'norm1',
  inner: { name: 'mlp.fc11', bias: inner },
  gate: { name: 'mlp.fc12', bias: inner },
  outer: { name: 'mlp.fc2', bias: outer },
  outputNorm: 'norm2',
})

interface Biases {
  readonly attention: boolean
  readonly inner: boolean
  readonly outer: boolean
}

export const nomicBert: Family = (config) => {
  const { hiddenSize, heads, layers, maxTokens, frequencies, biases, ...shape } = config.has('n_embd')
    ? readOlder(config)
    : readNewer(config)
  const vocabulary = config.size('vocab_size')
  const types = config.index('type_vocab_size', 2)
  const layerShape = { heads, ...shape }
  const embeddingShape = { vocabulary, width: hiddenSize, ...(types > 0 && { types }), norm: layerShape }
  const names = namesOf(biases)
  return {
    dims: { hiddenSize, layers, vocabulary, maxTokens },
    tokenTypes: types,
    specialIds: new Map(),
    prefix: 'nomic_bert.',
    build(weights, inputs, hooks) {
      const context = rotaryContext(weights.graph, inputs, 'rotary', frequencies, maxTokens)
      let hidden = embeddings(weights, embeddingShape, inputs, embeddingNames)
      for (let layer = 0; layer < layers; layer++) {
        const own = weights.below(`encoder.layers.${layer}`)
        hidden = postNormLayer(own, names, hidden, layerShape, context, hooks(layer))
      }
      return hidden
    },
  }
}

function readNewer(config: ConfigFile) {
  const { hiddenSize, heads } = readHeads(config, 'hidden_size', 'num_attention_heads')
  const headSize = readHeadSize(config, { hiddenSize, heads })
  config.only('head_dim', headSize)
  return {
    hiddenSize,
    heads,
    layers: config.size('num_hidden_layers'),
    intermediateSize: config.size('intermediate_size'),
    activation: config.choice('hidden_act', hiddenActivations, 'silu'),
    normEpsilon: config.positive('layer_norm_eps', 1e-12),
    maxTokens: config.size('max_position_embeddings', 2048),
    frequencies: readRotary(config, headSize, 1_000),
    biases: { attention: false, inner: false, outer: false },
  }
}

/** The gated activations by their older names. */
const gatedActivations: Readonly<Record<'swiglu' | 'geglu', Activation>> = { swiglu: 'silu', geglu: 'gelu' }

/** Fields that older configs must not change, with the values of the released models. */
const fixedFields = {
  prenorm: false,
  parallel_block: false,
  use_rms_norm: false,
  causal: false,
  rotary_emb_fraction: 1,
  rotary_emb_interleaved: false,
  scale_attn_weights: true,
  scale_attn_by_inverse_layer_idx: false,
  num_experts: 0,
}

/** The config of the directories from before `transformers` had the family, with the names of GPT-2. */
function readOlder(config: ConfigFile) {
  for (const [field, value] of Object.entries(fixedFields)) config.only(field, value)
  config.only('rotary_emb_scale_base')
  const { hiddenSize, heads } = readHeads(config, 'n_embd', 'n_head')
  const positions = config.size('n_positions', 8192)
  return {
    hiddenSize,
    heads,
    layers: config.size('n_layer'),
    intermediateSize: config.size('n_inner', 4 * hiddenSize),
    activation: gatedActivations[config.choice('activation_function', gatedActivations)],
    normEpsilon: config.positive('layer_norm_epsilon', 1e-5),
    // Longer texts would need other frequencies (rotary_scaling_factor).
    maxTokens: Math.min(positions, config.size('max_trained_positions', 2048)),
    frequencies: readRotary(
      config,
      readHeadSize(config, { hiddenSize, heads }),
      config.positive('rotary_emb_base', 10_000),
    ),
    biases: {
      attention: config.flag('qkv_proj_bias', true),
      inner: config.flag('mlp_fc1_bias', true),
      outer: config.flag('mlp_fc2_bias', true),
    },
  }
}
