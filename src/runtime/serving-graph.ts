// The graph that the server runs: the backbone with the prototype, which is masked for each row, and pooling.

import type { Backbone } from '../backbones/backbone.js'
import { type EncoderOptions, encoder, encoderInputs } from '../backbones/encoder.js'
import type { EncoderHooks } from '../backbones/layer-hooks.js'
import { byName, bytesOf, type DataType, type Graph, GraphBuilder, type Value } from '../graph/graph.js'
import { cast, gather, matmul, mul, reshape } from '../graph/operators.js'
import { type Packing, pad } from '../graph/packing.js'
import { petlModule } from '../petl/kinds.js'
import { maskRange, type NamedShape, type PetlModule } from '../petl/module.js'
import { type Prototype, prototypeTensor } from '../petl/prototype.js'
import { entryTable, maskedWeight, maskedWeightsOfLayers } from '../petl/unpacking.js'
import { Problem } from '../problem.js'

/** How the graph depends on the execution provider and the numerics. */
export interface GraphTraits extends Pick<EncoderOptions, 'gatherHalf'> {
  /**
   * Element type of the bank's words. `uint16` is the default; `float32` is for providers that can slice nothing else. With
   * `uint8` masks have one plane, and all layers are unpacked together.
   */
  readonly bank: Extract<DataType, 'uint8' | 'uint16' | 'float32'>
}

/** What the batches of a graph may contain or ask for. A graph without it has fewer operators. */
export interface GraphScope {
  /** Rows without a module. */
  readonly bareRows: boolean
  /** Hidden states as results. */
  readonly hidden: boolean
}

const everything: GraphScope = { bareRows: true, hidden: true }

/** The input of pooling. Pooling is always computed in float32. */
export const poolWeightsName = 'pool_weights'
/** The input that switches the module off for bare rows. */
export const hasModuleName = 'has_module'

/**
 * Builds the graph. Inputs: those of PackedRows, `bank` [slots, layers, ⌈n/8⌉] and `row_slots` int32 [B]. The slot of a
 * bare row must hold zeros. Outputs: `pooled` [B,H] and, if in scope, `hidden` [T,H], float32.
 * @param prototype if undefined, the graph is the bare backbone without bank and slots
 * @throws Problem `prototype_mismatch` or `invalid_prototype` if the prototype does not belong to the backbone
 */
export function servingGraph(
  backbone: Backbone,
  prototype: Prototype | undefined,
  traits: GraphTraits,
  scope: GraphScope = everything,
): Graph {
  const g = new GraphBuilder()
  const inputs = encoderInputs(g)
  const { packing } = inputs
  const poolWeights = g.input(poolWeightsName, 'float32', ['B', 1, 'S'])
  const hooks = prototype && maskedModules(g, backbone, prototype, packing, traits, scope)
  const hidden = encoder(g, backbone, inputs, { ...traits, ...(hooks && { hooks }) })
  const pooled = reshape(g, matmul(g, poolWeights, pad(g, hidden, packing)), ['B', backbone.dims.hiddenSize])
  return g.build([g.output('pooled', pooled), ...(scope.hidden ? [g.output('hidden', hidden)] : [])])
}

/** The prototype modules of all layers. Their weights are masked for each row with the mask in the row's slot. */
function maskedModules(
  g: GraphBuilder,
  backbone: Backbone,
  prototype: Prototype,
  packing: Packing,
  traits: GraphTraits,
  { bareRows }: GraphScope,
): EncoderHooks {
  checkPrototypeFitsBackbone(prototype, backbone)
  const { module: config, layers, maskBytes, hiddenSize } = prototype
  const module = petlModule(config, hiddenSize)
  const bank = g.input('bank', traits.bank, ['slots', layers, maskBytes])
  const rowSlots = g.input('row_slots', 'int32', ['B'])
  const masked = (traits.bank === 'uint8' ? unpackLayers : unpackRows)(g, prototype, module, bank, rowSlots)
  // Masks of zeros switch the masked weights of bare rows off. The rest of the module needs a switch of its own.
  const hasModule = bareRows ? g.input(hasModuleName, 'float32', ['B', 1, 1]) : undefined
  const unmasked = module.unmasked.map((tensor) => {
    const value = constantOf(g, prototype, tensor)
    return [tensor.name, hasModule ? mul(g, hasModule, value) : value] as const
  })
  return (layer) => {
    const own = module.maskable.map(({ name }, at) => [name, masked(layer, at)] as const)
    return module.layer(g, byName([...unmasked, ...own]), packing, hasModule)
  }
}

/** The masked weights of a layer, [B, …shape]; `tensor` is the index among the maskable tensors. */
type MaskedWeights = (layer: number, tensor: number) => Value

type Unpacking = (
  g: GraphBuilder,
  prototype: Prototype,
  module: PetlModule,
  bank: Value,
  rowSlots: Value,
) => MaskedWeights

/** Unpacks the mask of each row. */
const unpackRows: Unpacking = (g, prototype, module, bank, rowSlots) => {
  const { layers, maskBytes } = prototype
  const found = gather(g, bank, rowSlots)
  // The table lookup needs int32 words. Words in float32 are sliced first and converted later.
  const words = reshape(g, bank.dtype === 'float32' ? found : cast(g, found, 'int32'), ['B', layers * maskBytes])
  const table = entryTable(g)
  const weights = module.maskable.map((tensor) => {
    return { weight: constantOf(g, prototype, tensor), firstBit: maskRange(module, tensor.name).first }
  })
  return (layer, tensor) => {
    const { weight, firstBit } = at(weights, tensor)
    return maskedWeight(g, table, words, weight, 8 * maskBytes * layer + firstBit)
  }
}

/** Unpacks the mask of each row for all layers together. */
const unpackLayers: Unpacking = (g, prototype, module, bank, rowSlots) => {
  const { layers, maskBytes } = prototype
  const flat = new Float32Array(8 * maskBytes)
  for (const { name } of module.maskable) flat.set(prototypeTensor(prototype, name), maskRange(module, name).first)
  const shapes = module.maskable.map(({ shape }) => shape)
  const parts = maskedWeightsOfLayers(g, bank, rowSlots, flat, layers, shapes)
  return (layer, tensor) => at(at(parts, layer), tensor)
}

const constantOf = (g: GraphBuilder, prototype: Prototype, { name, shape }: NamedShape): Value =>
  g.constant(`module.${name}`, 'float32', shape, bytesOf(prototypeTensor(prototype, name)))

function at<T>(list: readonly T[], index: number): T {
  const item = list[index]
  if (item === undefined) throw new Error(`index ${index} is out of range; the list has ${list.length} items`)
  return item
}

/** @throws Problem `prototype_mismatch` or `invalid_prototype` if the prototype does not belong to the backbone */
export function checkPrototypeFitsBackbone(prototype: Prototype, backbone: Backbone): void {
  const { dims, digest, directory } = backbone
  if (prototype.backbone !== digest)
    throw new Problem(
      'prototype_mismatch',
      `the prototype was trained on a backbone with weights ${prototype.backbone}, but ${directory} has weights ${digest}; use the backbone that the prototype was trained on`,
      { prototype_backbone: prototype.backbone, backbone: digest },
    )
  if (prototype.layers !== dims.layers || prototype.hiddenSize !== dims.hiddenSize)
    throw new Problem(
      'invalid_prototype',
      `the prototype is for ${prototype.layers} layers of hidden size ${prototype.hiddenSize}, ` +
        `but the backbone has ${dims.layers} layers of hidden size ${dims.hiddenSize}`,
    )
}
