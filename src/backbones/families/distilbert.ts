// DistilBERT (Sanh et al. 2019, arXiv 1910.01108): BERT without token types, under other names. Its positions are a table,
// even in models where they are sinusoids.

import type { Family } from '../architecture.js'
import { hiddenActivations } from '../layers/activations.js'
import { embeddings } from '../layers/embeddings.js'
import { type PostNormNames, postNormLayer } from '../layers/post-norm-layer.js'
import { readHeads, readPositions } from './fields.js'

const names: PostNormNames = {
  query: 'attention.q_lin',
  key: 'attention.k_lin',
  value: 'attention.v_lin',
  attentionOutput: 'attention.out_lin',
  attentionNorm: 'sa_layer_norm',
  inner: 'ffn.lin1',
  outer: 'ffn.lin2',
  outputNorm: 'output_layer_norm',
}

export const distilbert: Family = (config) => {
  const { hiddenSize, heads } = readHeads(config, 'dim', 'n_heads')
  const { positions, maxTokens } = readPositions(config)
  const layers = config.size('n_layers')
  const vocabulary = config.size('vocab_size')
  const normEpsilon = 1e-12
  const embeddingShape = { vocabulary, width: hiddenSize, positions, norm: { normEpsilon } }
  const layerShape = {
    heads,
    intermediateSize: config.size('hidden_dim'),
    activation: config.choice('activation', hiddenActivations, 'gelu'),
    normEpsilon,
  }
  return {
    dims: { hiddenSize, layers, vocabulary, maxTokens },
    tokenTypes: 0,
    specialIds: new Map(),
    prefix: 'distilbert.',
    build(weights, inputs, hooks) {
      const context = { bias: inputs.keyBias, packing: inputs.packing }
      let hidden = embeddings(weights.below('embeddings'), embeddingShape, inputs)
      for (let layer = 0; layer < layers; layer++) {
        const own = weights.below(`transformer.layer.${layer}`)
        hidden = postNormLayer(own, names, hidden, layerShape, context, hooks(layer))
      }
      return hidden
    },
  }
}
