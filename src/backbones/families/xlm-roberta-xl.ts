// XLM-RoBERTa XL (Goyal et al. 2021, arXiv 2105.00572): RoBERTa with pre-norm layers. Embeddings are not normalised; the
// output of the last layer is.

import type { Family } from '../architecture.js'
import { embeddings } from '../layers/embeddings.js'
import { normLayer } from '../layers/norm.js'
import { type PreNormNames, preNormLayer } from '../layers/pre-norm-layer.js'
import { bertNames } from './bert.js'
import { boundaryIds, readBertLayers, readPositions } from './fields.js'

const names: PreNormNames = {
  ...bertNames,
  attentionNorm: 'attention.self_attn_layer_norm',
  feedForwardNorm: 'LayerNorm',
}

export const xlmRobertaXl: Family = (config) => {
  const { hiddenSize, layers, ...layerShape } = readBertLayers(config)
  const { positions, maxTokens } = readPositions(config, config.index('pad_token_id', 1) + 1)
  const vocabulary = config.size('vocab_size')
  const types = config.size('type_vocab_size', 1)
  return {
    dims: { hiddenSize, layers, vocabulary, maxTokens },
    tokenTypes: types,
    specialIds: boundaryIds(config),
    prefix: 'roberta.',
    build(weights, inputs, hooks) {
      const context = { bias: inputs.keyBias, packing: inputs.packing }
      let hidden = embeddings(weights.below('embeddings'), { vocabulary, width: hiddenSize, positions, types }, inputs)
      for (let layer = 0; layer < layers; layer++) {
        const own = weights.below(`encoder.layer.${layer}`)
        hidden = preNormLayer(own, names, hidden, layerShape, context, hooks(layer))
      }
      return normLayer(weights, 'encoder.LayerNorm', hiddenSize, layerShape)(hidden)
    },
  }
}
