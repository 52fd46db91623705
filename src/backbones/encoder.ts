// Adds the encoder of a backbone to a graph. Each family builds its own layers (families/).

import type { GraphBuilder, Value } from '../graph/graph.js'
import { packingInputs } from '../graph/packing.js'
import type { EncoderInputs } from './architecture.js'
import { architectureOf, type Backbone } from './backbone.js'
import type { EncoderHooks } from './layer-hooks.js'
import { Weights } from './weights.js'

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
  /** Whether the execution provider can gather from float16 and bfloat16 tables ({@link Weights.lookUp}). */
  readonly gatherHalf: boolean
  /** Modules in the layers. Absent: the bare encoder. */
  readonly hooks?: EncoderHooks
}

/**
 * The hidden states of the last layer, packed [T,H].
 * @throws Problem `invalid_backbone` for the first tensor that config.json requires and the weights lack
 */
export function encoder(
  g: GraphBuilder,
  backbone: Backbone,
  inputs: EncoderInputs,
  { gatherHalf, hooks = () => ({}) }: EncoderOptions,
): Value {
  const architecture = architectureOf(backbone)
  const isPrefixed = Array.from(backbone.tensors.keys()).some((name) => name.startsWith(architecture.prefix))
  const prefix = isPrefixed ? architecture.prefix : ''
  return architecture.build(new Weights(g, backbone, { prefix, gatherHalf }), inputs, hooks)
}
