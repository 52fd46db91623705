// The whole graph that is served: backbone, the prototype masked for each row, pooling.

import type { Backbone } from '../backbones/backbone.js'
import { type EncoderOptions, encoder, encoderInputs } from '../backbones/encoder.js'
import { byName, bytesOf, type DataType, type Graph, GraphBuilder } from '../graph/graph.js'
import { cast, gather, matmul, reshape } from '../graph/operators.js'
import { type Packing, pad } from '../graph/packing.js'
import { type LayerModules, maskRange, type NamedShape } from '../petl/module.js'
import { petlModule } from '../petl/modules.js'
import { type Prototype, prototypeTensor } from '../petl/prototype.js'
import { entryTable, maskedWeight } from '../petl/unpacking.js'
import { Problem } from '../problem.js'

/** What differs between execution providers. */
export interface GraphTraits extends Pick<EncoderOptions, 'gatherHalf'> {
  /** Element type of the bank's words: uint16, or float32 where a provider slices nothing else. */
  readonly bank: Extract<DataType, 'uint16' | 'float32'>
}

/**
 * Builds the graph. Inputs: those of PackedRows, `bank` [slots, layers, ⌈n/8⌉] and `row_slots` int32 [B]. Outputs:
 * `pooled` [B,H] and `hidden` [T,H], float32.
 * @param prototype without it the graph is the bare backbone, with neither bank nor slots
 * @throws Problem `prototype_mismatch` or `invalid_prototype` if the prototype does not belong to the backbone
 */
export function servingGraph(backbone: Backbone, prototype: Prototype | undefined, traits: GraphTraits): Graph {
  const g = new GraphBuilder()
  const inputs = encoderInputs(g)
  const { packing } = inputs
  const poolWeights = g.input('pool_weights', 'float32', ['B', 1, 'S'])
  const modules = prototype && maskedModules(g, backbone, prototype, packing, traits)
  const hidden = encoder(g, backbone, inputs, { ...traits, ...(modules && { modules }) })
  const pooled = reshape(g, matmul(g, poolWeights, pad(g, hidden, packing)), ['B', backbone.config.hidden_size])
  return g.build([g.output('pooled', pooled), g.output('hidden', hidden)])
}

/** The prototype in every layer, its weights masked for each row by the row's slot of the bank. */
function maskedModules(
  g: GraphBuilder,
  backbone: Backbone,
  prototype: Prototype,
  packing: Packing,
  traits: GraphTraits,
): LayerModules {
  checkFits(prototype, backbone)
  const { module: config, layers, maskBytes, hiddenSize } = prototype
  const module = petlModule(config, hiddenSize)
  const bank = g.input('bank', traits.bank, ['slots', layers, maskBytes])
  const found = gather(g, bank, g.input('row_slots', 'int32', ['B']))
  // What looks words up takes integers of 32 bits; they are sliced as floats where the provider slices nothing else.
  const words = reshape(g, traits.bank === 'float32' ? found : cast(g, found, 'int32'), ['B', layers * maskBytes])
  const table = entryTable(g)
  const constant = ({ name, shape }: NamedShape) =>
    g.constant(`module.${name}`, 'float32', shape, bytesOf(prototypeTensor(prototype, name)))
  const unmasked = module.unmasked.map((tensor) => [tensor.name, constant(tensor)] as const)
  const maskable = module.maskable.map((tensor) => {
    return { name: tensor.name, weight: constant(tensor), firstBit: maskRange(module, tensor.name).first }
  })
  return (layer) => {
    const masked = maskable.map(({ name, weight, firstBit }) => {
      return [name, maskedWeight(g, table, words, weight, 8 * maskBytes * layer + firstBit)] as const
    })
    return module.layer(g, byName([...unmasked, ...masked]), packing)
  }
}

/** @throws Problem `prototype_mismatch` or `invalid_prototype` if the prototype does not belong to the backbone */
export function checkFits(prototype: Prototype, backbone: Backbone): void {
  const { config, digest, directory } = backbone
  if (prototype.backbone !== digest)
    throw new Problem(
      'prototype_mismatch',
      `the prototype was learned on a backbone with weights ${prototype.backbone}, but ${directory} holds ${digest}`,
      { prototype_backbone: prototype.backbone, backbone: digest },
    )
  if (prototype.layers !== config.num_hidden_layers || prototype.hiddenSize !== config.hidden_size)
    throw new Problem(
      'invalid_prototype',
      `the prototype is for ${prototype.layers} layers of ${prototype.hiddenSize}; ` +
        `the backbone has ${config.num_hidden_layers} of ${config.hidden_size}`,
    )
}
