// The whole graph that is served: backbone, the prototype masked for each row, pooling.

import type { Backbone } from '../backbones/backbone.js'
import { bert, bertInputs } from '../backbones/bert.js'
import type { Prototype } from '../formats/prototype.js'
import { type DataType, type Graph, GraphBuilder } from '../graph/graph.js'
import { add, gather, matmul, reshape, slice } from '../graph/operators.js'
import { type Packing, pad } from '../graph/packing.js'
import { adapter, adapterConstants, maskAdapter } from '../petl/adapter.js'
import type { LayerModules } from '../petl/layer-module.js'
import { byteTable } from '../petl/unpacking.js'
import { Problem } from '../problem.js'

/** What differs between execution providers. */
export interface GraphTraits {
  /** Element type of the bank: uint8, or int32 where a provider cannot convert bytes. */
  readonly bank: Extract<DataType, 'uint8' | 'int32'>
  /** Whether float16 tables can be gathered from; otherwise they are converted at load. */
  readonly gatherHalf: boolean
}

/**
 * Builds the graph. Inputs: those of PackedRows, `bank` [slots, layers, ⌈n/8⌉] and `row_slots` int32 [B]. Outputs:
 * `pooled` [B,H] and `hidden` [T,H], float32.
 * @param prototype without it the graph is the bare backbone, with neither bank nor slots
 * @throws Problem `prototype_mismatch` or `invalid_prototype` if the prototype does not belong to the backbone
 */
export function servingGraph(backbone: Backbone, prototype: Prototype | undefined, traits: GraphTraits): Graph {
  const g = new GraphBuilder()
  const inputs = bertInputs(g)
  const { packing } = inputs
  const poolWeights = g.input('pool_weights', 'float32', ['B', 1, 'S'])
  const modules = prototype && maskedModules(g, backbone, prototype, packing, traits)
  const hidden = bert(g, backbone, inputs, { gatherHalf: traits.gatherHalf, ...(modules && { modules }) })
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
  const { module, layers, maskBytes } = prototype
  if (module.kind !== 'adapter')
    throw new Problem('invalid_prototype', `a prototype of kind "${module.kind}" cannot be served; expected adapter`)
  const bank = g.input('bank', traits.bank, ['slots', layers, maskBytes])
  const rowMasks = gather(g, bank, g.input('row_slots', 'int32', ['B']))
  const weights = adapterConstants(g, prototype, module)
  const table = byteTable(g)
  return (layer) => ({
    feedForward: (x, f, norm) => {
      const masks = reshape(g, slice(g, rowMasks, 1, layer, layer + 1), ['B', maskBytes])
      return adapter(g, module, maskAdapter(g, table, masks, weights), packing, norm(add(g, f, x)), f)
    },
  })
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
