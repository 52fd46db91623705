// BERT (Devlin et al. 2019, arXiv 1810.04805), and the encoder that RoBERTa and ELECTRA share with it.

import type { Architecture, Family } from '../architecture.js'
import type { ConfigFile } from '../config-file.js'
import { embeddings } from '../layers/embeddings.js'
import { linearLayer } from '../layers/linear.js'
import { type PostNormNames, postNormLayer } from '../layers/post-norm-layer.js'
import { readBertLayers, readPositions } from './fields.js'

export const bertNames: PostNormNames = {
  query: 'attention.self.query',
  key: 'attention.self.key',
  value: 'attention.self.value',
  attentionOutput: 'attention.output.dense',
  attentionNorm: 'attention.output.LayerNorm',
  inner: 'intermediate.dense',
  outer: 'output.dense',
  outputNorm: 'output.LayerNorm',
}

/** In what a family differs from BERT. */
export interface BertVariant {
  readonly prefix: string
  /** The entry of a text's first token in the table of positions. */
  readonly firstPosition?: number
  /** If it is not the hidden size, a dense layer maps embeddings to hidden states. */
  readonly embeddingSize?: number
  readonly specialIds?: ReadonlyMap<string, number>
}

export function bertArchitecture(
  config: ConfigFile,
  { prefix, firstPosition, embeddingSize, specialIds }: BertVariant,
): Architecture {
  const { hiddenSize, layers, ...layerShape } = readBertLayers(config)
  const { positions, maxTokens } = readPositions(config, firstPosition)
  const vocabulary = config.size('vocab_size')
  const types = config.size('type_vocab_size', 2)
  const width = embeddingSize ?? hiddenSize
  const embeddingShape = { vocabulary, width, positions, types, norm: layerShape }
  return {
    dims: { hiddenSize, layers, vocabulary, maxTokens },
    tokenTypes: types,
    specialIds: specialIds ?? new Map(),
    prefix,
    build(weights, inputs, hooks) {
      const context = { bias: inputs.keyBias, packing: inputs.packing }
      const embedded = embeddings(weights.below('embeddings'), embeddingShape, inputs)
      let hidden = width === hiddenSize ? embedded : linearLayer(weights, 'embeddings_project', embedded, hiddenSize)
      for (let layer = 0; layer < layers; layer++) {
        const own = weights.below(`encoder.layer.${layer}`)
        hidden = postNormLayer(own, bertNames, hidden, layerShape, context, hooks(layer))
      }
      return hidden
    },
  }
}

export const bert: Family = (config) => bertArchitecture(config, { prefix: 'bert.' })
