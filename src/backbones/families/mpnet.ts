// MPNet (Song et al. 2020, arXiv 2004.09297): BERT without token types, with a relative position bias. `transformers`
// ignores the config's padding token and number of buckets: positions start at 2, and there are 32 buckets.

import { add } from '../../graph/operators.js'
import type { Family } from '../architecture.js'
import { embeddings } from '../layers/embeddings.js'
import { type PostNormNames, postNormLayer } from '../layers/post-norm-layer.js'
import { relativeBias } from '../layers/relative-bias.js'
import { bertNames } from './bert.js'
import { boundaryIds, readBertLayers, readPositions } from './fields.js'

const names: PostNormNames = {
  ...bertNames,
  query: 'attention.attn.q',
  key: 'attention.attn.k',
  value: 'attention.attn.v',
  attentionOutput: 'attention.attn.o',
  attentionNorm: 'attention.LayerNorm',
}

const buckets = 32

export const mpnet: Family = (config) => {
  config.only('relative_attention_num_buckets', buckets)
  const { hiddenSize, layers, ...layerShape } = readBertLayers(config)
  const { positions, maxTokens } = readPositions(config, 2)
  const vocabulary = config.size('vocab_size')
  const embeddingShape = { vocabulary, width: hiddenSize, positions, norm: layerShape }
  return {
    dims: { hiddenSize, layers, vocabulary, maxTokens },
    tokenTypes: 0,
    specialIds: boundaryIds(config),
    prefix: 'mpnet.',
    build(weights, inputs, hooks) {
      const { positionIds, keyBias, packing } = inputs
      const g = weights.graph
      let hidden = embeddings(weights.below('embeddings'), embeddingShape, inputs)
      const table = weights.float('encoder.relative_attention_bias.weight', [buckets, layerShape.heads])
      const bias = add(g, relativeBias(g, table, positionIds, packing, maxTokens), keyBias)
      for (let layer = 0; layer < layers; layer++) {
        const own = weights.below(`encoder.layer.${layer}`)
        hidden = postNormLayer(own, names, hidden, layerShape, { bias, packing }, hooks(layer))
      }
      return hidden
    },
  }
}
