// ModernBERT (Warner et al. 2024, arXiv 2412.13663), also Ettin and mmBERT: pre-norm layers with rotary positions and gated
// feed-forward blocks. Most layers attend only to a window of near tokens.

import { add } from '../../graph/operators.js'
import type { Family } from '../architecture.js'
import type { ConfigFile } from '../config-file.js'
import { hiddenActivations } from '../layers/activations.js'
import { type AttentionContext, fusedProjections, rotaryContext } from '../layers/attention.js'
import { bertEmbeddingNames, type EmbeddingNames, embeddings } from '../layers/embeddings.js'
import { windowBias } from '../layers/local-window.js'
import { normLayer } from '../layers/norm.js'
import { type PreNormNames, preNormLayer } from '../layers/pre-norm-layer.js'
import { readHeads } from './fields.js'
import { frequenciesOf, readHeadSize } from './rotary-fields.js'

/** The kinds of attention, with the theta of their rotary positions if the config has none, and its older field. */
const attentionKinds = {
  full_attention: { theta: 160_000, olderField: 'global_rope_theta' },
  sliding_attention: { theta: 10_000, olderField: 'local_rope_theta' },
} as const

type AttentionKind = keyof typeof attentionKinds

export const modernbert: Family = (config) => {
  const { hiddenSize, heads } = readHeads(config, 'hidden_size', 'num_attention_heads')
  const headSize = readHeadSize(config, { hiddenSize, heads })
  const layers = config.size('num_hidden_layers')
  const kinds = readKinds(config, layers)
  const frequencies = {
    full_attention: readFrequencies(config, 'full_attention', headSize),
    sliding_attention: readFrequencies(config, 'sliding_attention', headSize),
  }
  /** A query attends to half of the window before it, to itself, and to half of the window after it. */
  const reach = config.even('local_attention', 128) / 2
  const vocabulary = config.size('vocab_size')
  const maxTokens = config.size('max_position_embeddings', 8192)
  const shape = {
    heads,
    intermediateSize: config.size('intermediate_size'),
    activation: config.choice('hidden_activation', hiddenActivations, 'gelu'),
    normEpsilon: config.positive('norm_eps', 1e-5),
    normBias: config.flag('norm_bias', false),
  }
  const names = namesOf(config.flag('attention_bias', false), config.flag('mlp_bias', false))
  return {
    dims: { hiddenSize, layers, vocabulary, maxTokens },
    tokenTypes: 0,
    specialIds: config.indexes('cls_token_id', 'sep_token_id'),
    prefix: 'model.',
    build(weights, inputs, hooks) {
      const { positionIds, keyBias, packing } = inputs
      const g = weights.graph
      const contextOf = (kind: AttentionKind): AttentionContext => {
        const context = rotaryContext(g, inputs, `rotary.${kind}`, frequencies[kind], maxTokens)
        if (kind === 'full_attention') return context
        return { ...context, bias: add(g, windowBias(g, reach, positionIds, packing, maxTokens), keyBias) }
      }
      const contexts = new Map([...new Set(kinds)].map((kind) => [kind, contextOf(kind)]))
      let hidden = embeddings(weights, { vocabulary, width: hiddenSize, norm: shape }, inputs, embeddingNames)
      for (const [layer, kind] of kinds.entries()) {
        const own = weights.below(`layers.${layer}`)
        const ownNames = layer === 0 ? { ...names, attentionNorm: undefined } : names
        hidden = preNormLayer(own, ownNames, hidden, shape, contexts.get(kind) ?? contextOf(kind), hooks(layer))
      }
      return normLayer(weights, 'final_norm', hiddenSize, shape)(hidden)
    },
  }
}

const embeddingNames: EmbeddingNames = {
  ...bertEmbeddingNames,
  words: 'embeddings.tok_embeddings',
  norm: 'embeddings.norm',
}

const namesOf = (attentionBias: boolean, feedForwardBias: boolean): PreNormNames => ({
  attentionNorm: 'attn_norm',
  ...fusedProjections('attn.Wqkv', attentionBias),
  attentionOutput: { name: 'attn.Wo', bias: attentionBias },
  feedForwardNorm: 'mlp_norm',
  gate: { name: 'mlp.Wi', bias: feedForwardBias, part: { at: 0, of: 2 } },
  inner: { name: 'mlp.Wi', bias: feedForwardBias, part: { at: 1, of: 2 } },
  outer: { name: 'mlp.Wo', bias: feedForwardBias },
})

/** The kind of attention of each layer. Newer configs list them; in older ones every n-th layer is global. */
function readKinds(config: ConfigFile, layers: number): readonly AttentionKind[] {
  const every = config.size('global_attn_every_n_layers', 3)
  return (
    config.choices('layer_types', attentionKinds, layers) ??
    Array.from({ length: layers }, (_, layer) => (layer % every === 0 ? 'full_attention' : 'sliding_attention'))
  )
}

function readFrequencies(config: ConfigFile, kind: AttentionKind, headSize: number): readonly number[] {
  config.only('rope_scaling')
  const { theta, olderField } = attentionKinds[kind]
  // A local_rope_theta of null means that local layers have the same theta as global ones.
  const field = config.fields.get(olderField) === null ? attentionKinds.full_attention.olderField : olderField
  return frequenciesOf(config.below('rope_parameters').below(kind), headSize, config.positive(field, theta))
}
