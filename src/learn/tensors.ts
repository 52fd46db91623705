// The tensors of a learning run: values that a step changes, and how they begin.

import type { Backbone } from '../backbones/backbone.js'
import { elementCount, moduleTensors, type Prototype, prototypeTensor } from '../formats/prototype.js'
import type { Linear } from '../formats/task-file.js'
import type { LabelSpace } from './labels.js'
import type { ModulePlan, Parameter } from './plan.js'
import type { Random } from './random.js'

const parameterSize = ({ shape }: Parameter): number => elementCount(shape)

export interface Tensor extends Parameter {
  /** Weights; of a learned mask its scores, of a frozen one the mask itself. */
  readonly values: Float32Array
}

/**
 * Standard deviation of fresh weights. A prototype's is larger than adapters have: masks choose among its weights, which
 * must be large enough to make a difference.
 */
const weightDeviation = { prototype: 0.1, plain: 0.05 } as const

/**
 * Tensors as a run begins. A layer's mask begins as the prototype's own mask of that layer, where it has any: a
 * prototype is at its best under the masks that it was learned with.
 * @param from the prototype that weights and frozen layer masks come from, or what kind of weights to draw
 */
export function moduleBeginning(
  parameters: readonly Parameter[],
  from: Prototype | ModulePlan['kind'],
  random: Random,
): readonly Tensor[] {
  const prototype = typeof from === 'string' ? undefined : from
  return parameters.map((parameter): Tensor => {
    const { name, kind, training } = parameter
    const size = parameterSize(parameter)
    if (kind === 'weight') {
      if (typeof from !== 'string') return { ...parameter, values: prototypeTensor(from, name).slice() }
      const zero = name.endsWith('.bias')
      return { ...parameter, values: zero ? new Float32Array(size) : random.normal(size, weightDeviation[from]) }
    }
    if (training === 'frozen') return { ...parameter, values: layerMaskOf(prototype, name) }
    if (prototype?.layerMasks && name.startsWith('layer.'))
      return { ...parameter, values: scoresOf(layerMaskOf(prototype, name), kaimingBound(parameter), random) }
    return { ...parameter, values: random.uniform(size, kaimingBound(parameter)) }
  })
}

/** A head as PyTorch's linear layers begin. */
export const headBeginning = (
  parameters: readonly Parameter[],
  hiddenSize: number,
  random: Random,
): readonly Tensor[] =>
  parameters.map((parameter) => ({
    ...parameter,
    values: random.uniform(parameterSize(parameter), hiddenSize ** -0.5),
  }))

/** Scores begin Kaiming-uniform with a = √5: within ±1/√(columns) (paper, section 3.2). */
export const kaimingBound = ({ shape: [, columns = 1] }: Parameter): number => columns ** -0.5

/** Scores whose mask is the one given: the upper half of the magnitudes up to `bound` where it is 1, else the lower. */
export function scoresOf(mask: Float32Array, bound: number, random: Random): Float32Array {
  return random
    .uniform(mask.length, bound / 2)
    .map((value, i) => value + (mask[i] ? (Math.sign(value) * bound) / 2 : 0))
}

/** The bits of a prototype's layer mask for one tensor, as 0s and 1s. `name` is `layer.<l>.mask.<part>`. */
function layerMaskOf(prototype: Prototype | undefined, name: string): Float32Array {
  const { layerMasks, maskBytes } = prototype ?? {}
  const [, layer, , part] = name.split('.')
  if (!prototype || !layerMasks || maskBytes === undefined)
    throw new Error(`"${name}" is frozen, but there is no prototype with layer masks`)
  const row = layerMasks.subarray(Number(layer) * maskBytes, (Number(layer) + 1) * maskBytes)
  return maskValues(prototype, `${part}.weight`, row)
}

/** The bits of a mask's row that belong to one tensor, as 0s and 1s. */
export function maskValues(prototype: Prototype, tensor: string, row: Uint8Array): Float32Array {
  const { first, size } = maskRange(prototype, tensor)
  return Float32Array.from({ length: size }, (_, i) => ((row[(first + i) >> 3] ?? 0) >> ((first + i) & 7)) & 1)
}

/** Where the bits of a maskable tensor lie in a mask. */
function maskRange({ module, hiddenSize }: Prototype, tensor: string): { first: number; size: number } {
  let first = 0
  for (const { name, shape } of moduleTensors(module, hiddenSize).maskable) {
    const size = elementCount(shape)
    if (name === tensor) return { first, size }
    first += size
  }
  throw new Error(`a ${module.kind} has no maskable tensor "${tensor}"`)
}

/** The tensor of a name. */
export function named(tensors: readonly Tensor[], name: string): Tensor {
  const tensor = tensors.find((tensor) => tensor.name === name)
  if (tensor === undefined) throw new Error(`there is no tensor "${name}"`)
  return tensor
}

/** A learned head as a task file holds it: a regression's in the units of its labels. */
export function headOf(tensors: readonly Tensor[], { spread }: LabelSpace): Linear {
  const { values: weight, shape } = named(tensors, 'head.weight')
  const [outputs = 0, inputs = 0] = shape
  const { values: bias } = named(tensors, 'head.bias')
  if (spread === undefined) return { inputs, outputs, weight, bias }
  const { mean, deviation } = spread
  return {
    inputs,
    outputs,
    weight: weight.map((value) => value * deviation),
    bias: bias.map((value) => value * deviation + mean),
  }
}

/** Bit-level storage of a module (paper, section 4.1): a weight counts 32 bits, a mask entry 1. */
export const storageBits = (tensors: readonly Tensor[]): number =>
  tensors.reduce((bits, tensor) => bits + parameterSize(tensor) * (tensor.kind === 'mask' ? 1 : 32), 0)

/** Bits of the frozen backbone's weights, that storage is held against. */
export const backboneBits = ({ weights }: Backbone): number =>
  [...weights.tensors.values()].reduce((bits, { shape }) => bits + 32 * elementCount(shape), 0)
