// BERT (Devlin et al. 2019, arXiv 1810.04805), as `transformers` lays out its weights: post-layer-norm encoder layers
// over learned absolute positions. Dense layers see packed tokens [T,H], attention sees padded rows [B,S,H].

import type { GraphBuilder, Value } from '../graph/graph.js'
import { add, cast, gather, gelu, geluTanh, layerNorm, linear, relu } from '../graph/operators.js'
import { type Packing, packingInputs } from '../graph/packing.js'
import type { LayerModules } from '../petl/module.js'
import { attention } from './attention.js'
import type { Backbone } from './backbone.js'
import { Weights } from './weights.js'

export interface BertInputs {
  /** int32 [T] each. */
  readonly inputIds: Value
  readonly tokenTypeIds: Value
  readonly positionIds: Value
  /** float32 [B,1,1,S]: 0 at a row's tokens, a large negative number at its padding. */
  readonly keyBias: Value
  readonly packing: Packing
}

/** The inputs that every graph of a BERT has. */
export const bertInputs = (g: GraphBuilder): BertInputs => ({
  packing: packingInputs(g),
  inputIds: g.input('input_ids', 'int32', ['T']),
  tokenTypeIds: g.input('token_type_ids', 'int32', ['T']),
  positionIds: g.input('position_ids', 'int32', ['T']),
  keyBias: g.input('key_bias', 'float32', ['B', 1, 1, 'S']),
})

const activations = { gelu, gelu_new: geluTanh, relu }

/**
 * Hidden states of the last layer, packed [T,H].
 * @param gatherHalf look words up in the table as it is stored, and convert what was found; false converts the table
 *   at load, for providers that cannot gather float16
 */
export function bert(
  g: GraphBuilder,
  backbone: Backbone,
  inputs: BertInputs,
  options: { readonly gatherHalf: boolean; readonly modules?: LayerModules },
): Value {
  const { config } = backbone
  const H = config.hidden_size
  const weights = new Weights(g, backbone, ['', 'bert.'], 'embeddings.word_embeddings.weight')
  const dense = (x: Value, name: string, outputs: number, width: number) =>
    linear(g, x, weights.float(`${name}.weight`, [outputs, width]), weights.float(`${name}.bias`, [outputs]))
  const norms = (name: string) => {
    const scale = weights.float(`${name}.LayerNorm.weight`, [H])
    const shift = weights.float(`${name}.LayerNorm.bias`, [H])
    return (x: Value) => layerNorm(g, x, scale, shift, config.layer_norm_eps)
  }
  const embedding = (name: string, rows: number, index: Value) => {
    const table = weights.stored(`embeddings.${name}.weight`, [rows, H])
    return options.gatherHalf
      ? cast(g, gather(g, table, index), 'float32')
      : gather(g, cast(g, table, 'float32'), index)
  }

  const words = embedding('word_embeddings', config.vocab_size, inputs.inputIds)
  const positions = embedding('position_embeddings', config.max_position_embeddings, inputs.positionIds)
  const types = embedding('token_type_embeddings', config.type_vocab_size, inputs.tokenTypeIds)
  let hidden = norms('embeddings')(add(g, add(g, words, types), positions))

  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = `encoder.layer.${layer}`
    const module = options.modules?.(layer) ?? {}
    const project = (part: string) => dense(hidden, `${name}.attention.self.${part}`, H, H)
    const gains = module.projections?.(hidden)
    const query = gains ? add(g, project('query'), gains.query) : project('query')
    const value = gains ? add(g, project('value'), gains.value) : project('value')
    const context = attention(
      g,
      { query, key: project('key'), value },
      {
        heads: config.num_attention_heads,
        bias: inputs.keyBias,
        packing: inputs.packing,
        ...(module.prefix && { prefix: module.prefix }),
      },
    )
    const attended = dense(context, `${name}.attention.output.dense`, H, H)
    const x = norms(`${name}.attention.output`)(add(g, attended, hidden))
    const inner = dense(x, `${name}.intermediate.dense`, config.intermediate_size, H)
    const f = dense(activations[config.hidden_act](g, inner), `${name}.output.dense`, H, config.intermediate_size)
    const norm = norms(`${name}.output`)
    hidden = norm(add(g, module.feedForward?.(x, f, norm) ?? f, x))
  }
  return hidden
}
