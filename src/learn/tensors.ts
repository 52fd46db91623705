// The tensors of a training run: their values, which training steps change, and their initial values.

import type { Backbone } from '../backbones/backbone.js'
import { type LabelSpace, outputCount } from '../data/label-space.js'
import { petlModule } from '../petl/kinds.js'
import { elementCount, maskRange } from '../petl/module.js'
import { type Prototype, prototypeTensor } from '../petl/prototype.js'
import type { Head, Linear } from '../petl/task.js'
import { type HeadKind, headParameters, type ModuleParameter, type Parameter } from './plan.js'
import { hasHead } from './problem-traits.js'
import type { Random } from './random.js'

const parameterSize = ({ shape }: Parameter): number => elementCount(shape)

export interface Tensor extends Parameter {
  /** Weights; the scores of a trained mask; or the 0s and 1s of a frozen mask. */
  readonly values: Float32Array
  /** Share of a learned mask's entries that are 1, where it differs from that of the run. */
  readonly density?: number
}

export type ModuleTensor = Tensor & ModuleParameter

/**
 * The initial tensors of a module. The mask of a layer starts as the layer mask of the prototype, if there is one,
 * because the prototype was trained with that mask.
 * @param start bits that trained masks start with instead, [mask layers, mask bytes]; they keep their density
 * @param from the prototype that gives weights and layer masks, or the standard deviation of random initial weights
 */
export function initialModule(
  parameters: readonly ModuleParameter[],
  from: Prototype | { readonly deviation: number },
  random: Random,
  start?: Uint8Array,
): readonly ModuleTensor[] {
  const prototype = 'deviation' in from ? undefined : from
  return parameters.map((parameter): ModuleTensor => {
    const { tensor, kind, owner, training, beginsAtZero } = parameter
    const size = parameterSize(parameter)
    if (kind === 'weight') {
      if (!('deviation' in from)) return { ...parameter, values: prototypeTensor(from, tensor).slice() }
      return { ...parameter, values: beginsAtZero ? new Float32Array(size) : random.normal(size, from.deviation) }
    }
    const bound = kaimingBound(parameter)
    if (training === 'trained' && start && prototype) {
      const mask = maskValues(prototype, tensor, maskLayer(start, owner, prototype.maskBytes))
      const density = mask.reduce((sum, bit) => sum + bit, 0) / size
      return { ...parameter, values: scoresForMask(mask, bound, random), density }
    }
    const mask = prototype && typeof owner === 'number' ? layerMaskValues(prototype, owner, tensor) : undefined
    if (training === 'frozen') {
      if (mask === undefined) throw new Error(`"${parameter.name}" is frozen, but the prototype has no such layer mask`)
      return { ...parameter, values: mask }
    }
    return { ...parameter, values: mask ? scoresForMask(mask, bound, random) : random.uniform(size, bound) }
  })
}

/** The initial head of a task, with the distribution of PyTorch's linear layers; empty if the problem type has no head. */
export function initialHead(space: LabelSpace, hiddenSize: number, head: HeadKind, random: Random): readonly Tensor[] {
  if (!hasHead(space.problem)) return []
  return headParameters(outputCount(space), hiddenSize, head).map((parameter) => ({
    ...parameter,
    values: random.uniform(parameterSize(parameter), hiddenSize ** -0.5),
  }))
}

/** Bound of the initial scores, Kaiming-uniform with a = √5: 1/√(columns) (paper, section 3.2). */
export const kaimingBound = ({ shape: [, columns = 1] }: Parameter): number => columns ** -0.5

/** Random scores that give the mask: magnitudes in the upper half up to `bound` where it is 1, else in the lower half. */
export function scoresForMask(mask: Float32Array, bound: number, random: Random): Float32Array {
  return random
    .uniform(mask.length, bound / 2)
    .map((value, i) => value + (mask[i] ? (Math.sign(value) * bound) / 2 : 0))
}

/** The layer of a mask that an owner has: its own, or the only one. */
const maskLayer = (bits: Uint8Array, owner: ModuleParameter['owner'], maskBytes: number): Uint8Array => {
  const layer = typeof owner === 'number' ? owner : 0
  return bits.subarray(layer * maskBytes, (layer + 1) * maskBytes)
}

/** The layer mask of a prototype for one tensor, as 0s and 1s; undefined if it has no layer masks. */
function layerMaskValues(prototype: Prototype, layer: number, tensor: string): Float32Array | undefined {
  const { layerMasks, maskBytes } = prototype
  return layerMasks && maskValues(prototype, tensor, layerMasks.subarray(layer * maskBytes, (layer + 1) * maskBytes))
}

/** The part of one layer's mask bits that belongs to a tensor, as 0s and 1s. */
export function maskValues({ module, hiddenSize }: Prototype, tensor: string, maskBits: Uint8Array): Float32Array {
  const { first, size } = maskRange(petlModule(module, hiddenSize), tensor)
  return Float32Array.from({ length: size }, (_, i) => ((maskBits[(first + i) >> 3] ?? 0) >> ((first + i) & 7)) & 1)
}

/** The tensor with the given name. */
export function tensorNamed(tensors: readonly Tensor[], name: string): Tensor {
  const tensor = tensors.find((tensor) => tensor.name === name)
  if (tensor === undefined) throw new Error(`there is no tensor "${name}"`)
  return tensor
}

/**
 * A trained head for a task file. The head of a regression is rescaled to the units of its labels; their mean is not part
 * of it (the offset of a task).
 */
export function trainedHead(tensors: readonly Tensor[], { spread }: LabelSpace): Head {
  const output = linearLayer(tensors, 'head')
  const dense = tensors.some(({ name }) => name === 'head.dense.weight') && linearLayer(tensors, 'head.dense')
  const { deviation } = spread ?? { deviation: 1 }
  return {
    ...(dense && { dense: { ...dense, activation: 'tanh' } }),
    output: {
      ...output,
      weight: output.weight.map((value) => value * deviation),
      bias: output.bias.map((value) => value * deviation),
    },
  }
}

function linearLayer(tensors: readonly Tensor[], name: string): Linear {
  const { values: weight, shape } = tensorNamed(tensors, `${name}.weight`)
  const [outputs = 0, inputs = 0] = shape
  return { inputs, outputs, weight, bias: tensorNamed(tensors, `${name}.bias`).values }
}

/** Storage of a module in bits (paper, section 4.1): 32 per weight, 1 per mask entry. */
export const storageBits = (tensors: readonly Tensor[]): number =>
  tensors.reduce((bits, tensor) => bits + parameterSize(tensor) * (tensor.kind === 'mask' ? 1 : 32), 0)

/** Bits of the frozen backbone's weights, with which storage is compared. */
export const backboneBits = ({ tensors }: Backbone): number =>
  [...tensors.values()].reduce((bits, { shape }) => bits + 32 * elementCount(shape), 0)
