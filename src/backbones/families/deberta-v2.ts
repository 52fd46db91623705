// DeBERTa, versions 2 and 3 (He et al. 2020, arXiv 2006.03654; He et al. 2021, arXiv 2111.09543): BERT with disentangled
// attention. Version 2 adds the convolution of its input to the output of the first layer.

import type { Value } from '../../graph/graph.js'
import { add, tanh } from '../../graph/operators.js'
import { Problem } from '../../problem.js'
import type { EncoderInputs, Family } from '../architecture.js'
import type { ConfigFile } from '../config-file.js'
import { hiddenActivations } from '../layers/activations.js'
import { convolutionLayer } from '../layers/convolution.js'
import { type DisentangledNames, type DistanceShape, disentangledContext, distancesOf } from '../layers/disentangled.js'
import { type EmbeddingShape, embeddings } from '../layers/embeddings.js'
import { linearLayer } from '../layers/linear.js'
import { type NormShape, normLayer } from '../layers/norm.js'
import { type PostNormNames, postNormLayer } from '../layers/post-norm-layer.js'
import type { Weights } from '../weights.js'
import { bertNames } from './bert.js'
import { readBertLayers, readPositions } from './fields.js'

const query = 'attention.self.query_proj'
const key = 'attention.self.key_proj'
const names: PostNormNames = { ...bertNames, query, key, value: 'attention.self.value_proj' }

const convolutionActivations = { ...hiddenActivations, tanh }

export const debertaV2: Family = (config) => {
  const { hiddenSize, layers, ...layerShape } = readBertLayers(config, 1e-7)
  const { heads } = layerShape
  config.only('attention_head_size', hiddenSize / heads)
  const { positions, maxTokens } = readPositions(config)
  const vocabulary = config.size('vocab_size')
  const tokenTypes = config.index('type_vocab_size', 0)
  const embeddingShape: EmbeddingShape = {
    vocabulary,
    width: config.size('embedding_size', hiddenSize),
    ...(config.flag('position_biased_input', true) && { positions }),
    ...(tokenTypes > 0 && { types: tokenTypes }),
  }
  const distanceShape = readDistances(config, maxTokens)
  const positionNames = readPositionNames(config)
  const normalisesDistances = config.several('norm_rel_ebd', ['none', 'layer_norm'], 'none').has('layer_norm')
  const convolution = readConvolution(config, hiddenSize)
  return {
    dims: { hiddenSize, layers, vocabulary, maxTokens },
    tokenTypes,
    specialIds: new Map(),
    prefix: 'deberta.',
    build(weights, inputs, hooks) {
      const { positionIds, keyBias, packing } = inputs
      const g = weights.graph
      const embedded = normalisedEmbeddings(weights.below('embeddings'), embeddingShape, hiddenSize, layerShape, inputs)
      const encoder = weights.below('encoder')
      const stored = encoder.float('rel_embeddings.weight', [2 * distanceShape.span, hiddenSize])
      const relative = normalisesDistances ? normLayer(encoder, 'LayerNorm', hiddenSize, layerShape)(stored) : stored
      const distances = distancesOf(g, distanceShape, { positions: positionIds, packing, heads, maxTokens })
      let hidden = embedded
      for (let layer = 0; layer < layers; layer++) {
        const own = encoder.below(`layer.${layer}`)
        const modules = hooks(layer)
        if (modules.prefix) throwUnfitPrefix()
        const context = disentangledContext(own, positionNames, relative, distances, { bias: keyBias, packing })
        hidden = postNormLayer(own, names, hidden, layerShape, context, modules)
        if (layer === 0 && convolution) {
          const convolved = convolutionLayer(encoder, 'conv.conv', embedded, convolution, inputs)
          const activated = convolutionActivations[convolution.activation](g, convolved)
          hidden = normLayer(encoder, 'conv.LayerNorm', hiddenSize, layerShape)(add(g, hidden, activated))
        }
      }
      return hidden
    },
  }
}

/** The normalised sum of the embeddings. If their width is not the hidden size, a dense layer maps the sum before. */
function normalisedEmbeddings(
  weights: Weights,
  shape: EmbeddingShape,
  hiddenSize: number,
  norm: NormShape,
  inputs: EncoderInputs,
): Value {
  const sum = embeddings(weights, shape, inputs)
  const mapped =
    shape.width === hiddenSize ? sum : linearLayer(weights, { name: 'embed_proj', bias: false }, sum, hiddenSize)
  return normLayer(weights, 'LayerNorm', hiddenSize, norm)(mapped)
}

function readDistances(config: ConfigFile, maxTokens: number): DistanceShape {
  if (!config.flag('relative_attention', false))
    config.throwInvalidConfig('relative_attention is false or missing; expected true')
  const given = config.wholeNumber('max_relative_positions', -1, -1)
  const farthest = given < 1 ? maxTokens : given
  const count = config.wholeNumber('position_buckets', -1, -1)
  if (count < 1) return { span: farthest }
  // The formula of log buckets needs distances beyond the exact ones.
  const most = 2 * (farthest - 1) - 1
  if (count < 2 || count > most)
    config.throwInvalidConfig(`position_buckets is ${count}; expected -1 for no buckets, or 2 to ${most}`)
  return { span: count, logBuckets: { count, farthest } }
}

/** The projections of the relative embeddings. With `share_att_key` they are those of the tokens. */
function readPositionNames(config: ConfigFile): DisentangledNames {
  const terms = config.several('pos_att_type', ['c2p', 'p2c'])
  const isShared = config.flag('share_att_key', false)
  return {
    ...(terms.has('c2p') && { positionKey: isShared ? key : 'attention.self.pos_key_proj' }),
    ...(terms.has('p2c') && { positionQuery: isShared ? query : 'attention.self.pos_query_proj' }),
  }
}

function readConvolution(config: ConfigFile, hiddenSize: number) {
  const kernelSize = config.index('conv_kernel_size', 0)
  if (kernelSize === 0) return undefined
  if (kernelSize % 2 === 0) config.throwInvalidConfig(`conv_kernel_size is ${kernelSize}; expected an odd number`)
  const groups = config.size('conv_groups', 1)
  if (hiddenSize % groups !== 0)
    config.throwInvalidConfig(`hidden_size ${hiddenSize} is not a multiple of conv_groups ${groups}`)
  return { kernelSize, groups, activation: config.choice('conv_act', convolutionActivations, 'tanh') }
}

function throwUnfitPrefix(): never {
  throw new Problem(
    'invalid_prototype',
    'the module prefix does not fit deberta-v2 models, because its keys have no distance to the tokens; ' +
      'use adapter or lora',
  )
}
