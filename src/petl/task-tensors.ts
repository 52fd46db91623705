// The tensors of a task file: the mask, the layers of the head or of the projection, and the thresholds.

import type { Metadata } from '../formats/metadata.js'
import {
  elementsPerStep,
  floatsInSteps,
  type SafetensorsHeader,
  shapeText,
  type TensorData,
  type TensorInfo,
  tensorBytes,
} from '../formats/safetensors.js'
import type { Steps } from '../steps.js'
import { throwInvalidTaskFile } from './invalid-task-file.js'
import { type DenseLayer, type Head, headActivationNames, type Linear, type Task, type TaskMask } from './task.js'

const linears = ['head', 'head.dense', 'projection']
/** All tensors that a task file can have. */
export const tensorNames = new Set([
  'mask',
  'thresholds',
  ...linears.flatMap((name) => [`${name}.weight`, `${name}.bias`]),
])

/** The tensors of a task: the mask as packed bits, the others as float32. */
export function taskTensors(task: Task): Record<string, TensorData> {
  const { mask, head } = task
  const projection = 'projection' in task ? task.projection : undefined
  return {
    ...(mask && { mask: { dtype: 'U8', shape: [mask.layers, mask.bits.byteLength / mask.layers], data: mask.bits } }),
    ...(head && linearTensors('head', head.output)),
    ...(head?.dense && linearTensors('head.dense', head.dense)),
    ...(projection && linearTensors('projection', projection)),
    ...('thresholds' in task && task.thresholds instanceof Float32Array && thresholdTensor(task.thresholds)),
  }
}

const linearTensors = (name: string, { inputs, outputs, weight, bias }: Linear): Record<string, TensorData> => ({
  [`${name}.weight`]: { dtype: 'F32', shape: [outputs, inputs], data: bytesOf(weight) },
  [`${name}.bias`]: { dtype: 'F32', shape: [outputs], data: bytesOf(bias) },
})

const thresholdTensor = (thresholds: Float32Array): Record<string, TensorData> => ({
  thresholds: { dtype: 'F32', shape: [thresholds.length], data: bytesOf(thresholds) },
})

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

function tensor(header: SafetensorsHeader, name: string, rank: number): TensorInfo {
  const info = header.tensors.get(name) ?? throwInvalidTaskFile(`tensor "${name}" is missing`)
  if (info.shape.length !== rank || info.shape.some((dim) => dim === 0))
    throwInvalidTaskFile(
      `tensor "${name}" has shape ${shapeText(info.shape)}; expected ${rank} dimensions, none of them 0`,
    )
  return info
}

export function* readMask(file: Uint8Array, header: SafetensorsHeader): Steps<TaskMask> {
  const info = tensor(header, 'mask', 2)
  const [layers = 0, columns = 0] = info.shape
  const bytes = tensorBytes(file, info)
  if (info.dtype === 'U8') return { layers, weights: columns * 8, exact: false, bits: bytes }
  if (info.dtype !== 'BOOL') return throwInvalidTaskFile(`mask is ${info.dtype}; expected U8 (packed bits) or BOOL`)
  const layerBytes = Math.ceil(columns / 8)
  const bits = new Uint8Array(layers * layerBytes)
  for (let index = 0, layer = 0, column = 0; index < bytes.length; index++, column++) {
    if (column === columns) [layer, column] = [layer + 1, 0]
    const bit = bytes[index] ?? 0
    if (bit > 1) throwInvalidTaskFile(`mask: byte ${index} is ${bit}; a BOOL must be 0 or 1`)
    const byte = layer * layerBytes + (column >> 3)
    bits[byte] = (bits[byte] ?? 0) | (bit << (column & 7))
    if (index % elementsPerStep === elementsPerStep - 1) yield
  }
  return { layers, weights: columns, exact: true, bits }
}

export function* readHead(file: Uint8Array, header: SafetensorsHeader, metadata: Metadata): Steps<Head> {
  const output = yield* readLinear(file, header, 'head')
  const dense = yield* readDense(file, header, metadata, 'head.dense', 'head_activation')
  if (dense === undefined) return { output }
  if (output.inputs !== dense.outputs)
    throwInvalidTaskFile(`head.weight takes ${output.inputs} values, but head.dense.weight returns ${dense.outputs}`)
  return { dense, output }
}

/** A layer with an activation, if the file has its tensors. */
export function* readDense(
  file: Uint8Array,
  header: SafetensorsHeader,
  metadata: Metadata,
  name: string,
  activationKey: 'head_activation' | 'projection_activation',
): Steps<DenseLayer | undefined> {
  if (!header.tensors.has(`${name}.weight`)) {
    if (header.tensors.has(`${name}.bias`)) throwInvalidTaskFile(`tensor "${name}.weight" is missing`)
    return undefined
  }
  const activation = metadata.choice(activationKey, headActivationNames, 'tanh')
  return { ...(yield* readLinear(file, header, name)), activation }
}

function* readLinear(file: Uint8Array, header: SafetensorsHeader, name: string): Steps<Linear> {
  const weight = tensor(header, `${name}.weight`, 2)
  const bias = tensor(header, `${name}.bias`, 1)
  const [outputs = 0, inputs = 0] = weight.shape
  if (bias.shape[0] !== outputs)
    throwInvalidTaskFile(`${name}.bias has ${bias.shape[0]} values, but ${name}.weight has ${outputs} rows`)
  return {
    inputs,
    outputs,
    weight: yield* finiteFloats(file, `${name}.weight`, weight),
    bias: yield* finiteFloats(file, `${name}.bias`, bias),
  }
}

/** The threshold of each label, if the file has them. */
export function* readThresholds(
  file: Uint8Array,
  header: SafetensorsHeader,
  { output }: Head,
): Steps<Float32Array | undefined> {
  const name = 'thresholds'
  if (!header.tensors.has(name)) return undefined
  const info = tensor(header, name, 1)
  if (info.shape[0] !== output.outputs)
    throwInvalidTaskFile(`thresholds has ${info.shape[0]} values, but head.weight has ${output.outputs} rows`)
  const thresholds = yield* finiteFloats(file, name, info)
  const at = thresholds.findIndex((threshold) => threshold <= 0 || threshold >= 1)
  if (at >= 0)
    throwInvalidTaskFile(`thresholds: element ${at} is ${thresholds[at]}; expected numbers above 0 and below 1`)
  return thresholds
}

function* finiteFloats(file: Uint8Array, name: string, info: TensorInfo): Steps<Float32Array> {
  if (info.dtype !== 'F32' && info.dtype !== 'F16')
    throwInvalidTaskFile(`${name} is ${info.dtype}; expected F32 or F16`)
  const values = yield* floatsInSteps(file, name, info)
  // 0 · x is NaN unless x is finite, so one sum shows whether all are. This is faster than a test of each value.
  let sum = 0
  for (let i = 0; i < values.length; i++) {
    sum += 0 * (values[i] as number)
    if (i % elementsPerStep === elementsPerStep - 1) yield
  }
  if (sum === 0) return values
  const at = values.findIndex((value) => !Number.isFinite(value))
  return throwInvalidTaskFile(`${name}: element ${at} is ${values[at]}; expected finite numbers`)
}
