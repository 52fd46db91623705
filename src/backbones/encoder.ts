// The encoder of every family (families.ts): post-layer-norm layers over embeddings of words, positions and token
// types. Dense layers see packed tokens [T,H], attention sees padded rows [B,S,H].

import type { GraphBuilder, Value } from '../graph/graph.js'
import { add, cast, gather, layerNorm, linear } from '../graph/operators.js'
import { type Packing, packingInputs } from '../graph/packing.js'
import type { LayerModules } from '../petl/module.js'
import { hiddenActivations } from './activations.js'
import { attention } from './attention.js'
import type { Backbone } from './backbone.js'
import { families, maxTokensOf } from './families.js'
import { relativeBias } from './relative-bias.js'
import { Weights } from './weights.js'

export interface EncoderInputs {
  /** int32 [T] each. Families without token types do not look at theirs. */
  readonly inputIds: Value
  readonly tokenTypeIds: Value
  /** A token's place in its row, from 0 in every family. */
  readonly positionIds: Value
  /** float32 [B,1,1,S]: 0 at a row's tokens, a large negative number at its padding. */
  readonly keyBias: Value
  readonly packing: Packing
}

export const keyBiasName = 'key_bias'

/** The inputs that every graph of an encoder has. */
export const encoderInputs = (g: GraphBuilder): EncoderInputs => ({
  packing: packingInputs(g),
  inputIds: g.input('input_ids', 'int32', ['T']),
  tokenTypeIds: g.input('token_type_ids', 'int32', ['T']),
  positionIds: g.input('position_ids', 'int32', ['T']),
  keyBias: g.input(keyBiasName, 'float32', ['B', 1, 1, 'S']),
})

export interface EncoderOptions {
  /**
   * Look words up in the table as it is stored, and convert what was found; false converts the table at load, for
   * providers that cannot gather float16 or bfloat16.
   */
  readonly gatherHalf: boolean
  readonly modules?: LayerModules
}

/**
 * Hidden states of the last layer, packed [T,H].
 * @throws Problem `invalid_backbone` naming the first tensor that config.json promises and the weights lack
 */
export function encoder(g: GraphBuilder, backbone: Backbone, inputs: EncoderInputs, options: EncoderOptions): Value {
  const { config } = backbone
  const { hidden_size: H, embedding_size: E } = config
  const { prefix, layers, layer: names } = families[config.model_type]
  const weights = new Weights(g, backbone, prefix, 'embeddings.word_embeddings.weight')
  const dense = (x: Value, name: string, outputs: number, width: number) =>
    linear(g, x, weights.float(`${name}.weight`, [outputs, width]), weights.float(`${name}.bias`, [outputs]))
  const norms = (name: string, width: number) => {
    const scale = weights.float(`${name}.weight`, [width])
    const shift = weights.float(`${name}.bias`, [width])
    return (x: Value) => layerNorm(g, x, scale, shift, config.layer_norm_eps)
  }
  const embedding = (name: string, rows: number, index: Value, firstRow = 0) => {
    const table = weights.stored(`embeddings.${name}.weight`, [rows, E], firstRow)
    return options.gatherHalf
      ? cast(g, gather(g, table, index), 'float32')
      : gather(g, cast(g, table, 'float32'), index)
  }
  /** Where there is but one type, tokens have it whatever the tokenizer says. */
  const types = () =>
    config.type_vocab_size === 1
      ? weights.float('embeddings.token_type_embeddings.weight', [1, E])
      : embedding('token_type_embeddings', config.type_vocab_size, inputs.tokenTypeIds)

  const { max_position_embeddings, first_position } = config
  const words = embedding('word_embeddings', config.vocab_size, inputs.inputIds)
  const positions = embedding('position_embeddings', max_position_embeddings, inputs.positionIds, first_position)
  const typed = config.type_vocab_size === 0 ? words : add(g, words, types())
  const embedded = norms('embeddings.LayerNorm', E)(add(g, typed, positions))
  let hidden = E === H ? embedded : dense(embedded, 'embeddings_project', H, E)

  const bias = attentionBias(g, backbone, weights, inputs)
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = `${layers}.${layer}`
    const module = options.modules?.(layer) ?? {}
    const project = (part: string) => dense(hidden, `${name}.${part}`, H, H)
    const gains = module.projections?.(hidden)
    const query = gains ? add(g, project(names.query), gains.query) : project(names.query)
    const value = gains ? add(g, project(names.value), gains.value) : project(names.value)
    const context = attention(
      g,
      { query, key: project(names.key), value },
      {
        heads: config.num_attention_heads,
        bias,
        packing: inputs.packing,
        ...(module.prefix && { prefix: module.prefix }),
      },
    )
    const attended = dense(context, `${name}.${names.attended}`, H, H)
    const x = norms(`${name}.${names.attentionNorm}`, H)(add(g, attended, hidden))
    const inner = dense(x, `${name}.${names.inner}`, config.intermediate_size, H)
    const f = dense(
      hiddenActivations[config.hidden_act](g, inner),
      `${name}.${names.outer}`,
      H,
      config.intermediate_size,
    )
    const norm = norms(`${name}.${names.outputNorm}`, H)
    const sum = add(g, f, x)
    hidden = norm(module.feedForward ? add(g, module.feedForward(sum, norm), sum) : sum)
  }
  return hidden
}

/** What attention adds to its scores in every layer: [B,1,1,S], or [B,heads,S,S] where positions are relative too. */
function attentionBias(
  g: GraphBuilder,
  { config }: Backbone,
  weights: Weights,
  { keyBias, positionIds, packing }: EncoderInputs,
): Value {
  const { relative_attention_num_buckets: buckets, num_attention_heads: heads } = config
  if (buckets === 0) return keyBias
  const table = weights.float('encoder.relative_attention_bias.weight', [buckets, heads])
  return add(g, relativeBias(g, table, positionIds, packing, maxTokensOf(config)), keyBias)
}
