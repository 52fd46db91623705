// The task file: a mask over the prototype's weights and, but for feature extraction, a small head. A few kilobytes, and
// all that a task is.

import { Type } from 'typebox'
import { Problem, quoted } from '../problem.js'
import { finish, type Steps } from '../steps.js'
import { digestInSteps } from './digest.js'
import { readStrings } from './json.js'
import { Metadata } from './metadata.js'
import {
  elementsPerStep,
  floatsInSteps,
  type HeaderLimits,
  headerInSteps,
  type SafetensorsHeader,
  serializeSafetensors,
  shapeText,
  type TensorData,
  type TensorInfo,
  tensorBytes,
} from './safetensors.js'

export const taskFormat = 'propetl-task/1'

export const combinings = ['or', 'and', 'add', 'none'] as const
export const problemTypes = [
  'single_label_classification',
  'multi_label_classification',
  'regression',
  'token_classification',
  'feature_extraction',
] as const
export const poolings = ['mean', 'cls'] as const
const headActivationNames = ['tanh', 'relu', 'none'] as const

/** How a task's mask meets the prototype's layer masks (paper, section 3.3). */
export type Combining = (typeof combinings)[number]
export type ProblemType = (typeof problemTypes)[number]
export type Pooling = (typeof poolings)[number]

/** weight [outputs, inputs], row-major; y = weight · x + bias. */
export interface Linear {
  readonly inputs: number
  readonly outputs: number
  readonly weight: Float32Array
  readonly bias: Float32Array
}

/** A linear map on the pooled row, or on a dense layer over it. */
export interface Head {
  readonly dense?: Linear & { readonly activation: (typeof headActivationNames)[number] }
  readonly output: Linear
}

export interface TaskMask {
  /** 1: the same mask in every layer. Otherwise one for each layer. */
  readonly layers: number
  /** Weights covered by one row, as far as the file tells: exact for BOOL, else a multiple of 8. */
  readonly weights: number
  readonly exact: boolean
  /** [rows, ⌈weights/8⌉] bytes, bit i of a row in byte i >> 3 at i & 7. */
  readonly bits: Uint8Array
}

/** What every task has. */
interface CommonContent {
  /** SHA-256 of the prototype that the mask was learned on. */
  readonly prototype: string
  readonly combine: Combining
  readonly pooling: Pooling
  readonly mask: TaskMask
  /** Empty for regression and feature extraction. */
  readonly labels: readonly string[]
  readonly description?: string
  readonly metrics?: Readonly<Record<string, unknown>>
  /** Smallest and largest value of a regression's target. */
  readonly range?: readonly [number, number]
}

/** What a task answers with: this differs between problem types. */
export type Answering =
  | {
      readonly problemType: 'single_label_classification' | 'regression' | 'token_classification'
      readonly head: Head
    }
  | {
      readonly problemType: 'multi_label_classification'
      readonly head: Head
      /** Probability from which on a label applies. */
      readonly threshold: number
    }
  | {
      readonly problemType: 'feature_extraction'
      readonly head?: undefined
      /** Vectors are scaled to an L2 norm of 1. */
      readonly normalize: boolean
    }

export type TaskContent = CommonContent & Answering

export type TaskFile = TaskContent & {
  /** SHA-256 of the file: the version of the task. */
  readonly digest: string
}

export const defaultThreshold = 0.5

/** What a task file may say of itself. A hundred thousand labels are within it. */
export const taskFileLimits = {
  labels: 100_000,
  labelLength: 1_000,
  descriptionLength: 10_000,
  metricsLength: 65_536,
  header: { bytes: 4 * 1024 * 1024, values: 1_000 } satisfies HeaderLimits,
} as const

const rangePair = Type.Tuple([Type.Number(), Type.Number()])
const thresholdNumber = Type.Number({ exclusiveMinimum: 0, exclusiveMaximum: 1 })
const metricsObject = Type.Record(Type.String(), Type.Unknown())

/**
 * Reads a task file and checks all that it says about itself; whether it belongs to a deployment's prototype is
 * combining.ts's question.
 * @param file its mask and head become views of it, so that it must not change afterwards
 * @param digest of the file, where it is known
 * @throws Problem `not_safetensors` or `invalid_task_file`
 */
export function readTaskFile(file: Uint8Array, digest?: string): TaskFile {
  return finish(taskFileInSteps(file, digest))
}

/** The same in steps: a file may be large, and a server reads it while others wait. */
export function* taskFileInSteps(file: Uint8Array, known?: string): Steps<TaskFile> {
  const digest = known ?? (yield* digestInSteps(file))
  const header = yield* headerInSteps(file, file.byteLength, taskFileLimits.header)
  const metadata = new Metadata(header.metadata, throwInvalidTaskFile)
  metadata.choice('format', [taskFormat])
  for (const name of header.tensors.keys())
    if (!tensorNames.has(name))
      throwInvalidTaskFile(
        `tensor ${quoted(name)} is not part of a task file; known are ${[...tensorNames].join(', ')}`,
      )
  const answering = yield* readAnswering(file, header, metadata)
  const description = header.metadata.get('description')
  const { descriptionLength, metricsLength } = taskFileLimits
  checkLength('description', description, descriptionLength)
  checkLength('metrics', header.metadata.get('metrics'), metricsLength)
  return {
    digest,
    prototype: metadata.digest('prototype'),
    combine: metadata.choice('combine', combinings),
    ...answering,
    pooling: metadata.choice('pooling', poolings),
    labels: yield* readLabels(metadata, answering),
    mask: yield* readMask(file, header),
    ...(description !== undefined && { description }),
    ...(header.metadata.has('metrics') && { metrics: metadata.json('metrics', metricsObject, 'a JSON object') }),
    ...(header.metadata.has('range') && { range: readTargetRange(metadata) }),
  }
}

const tensorNames = new Set(['mask', 'head.weight', 'head.bias', 'head.dense.weight', 'head.dense.bias'])

function checkLength(key: string, text: string | undefined, most: number): void {
  if (text !== undefined && text.length > most)
    throwInvalidTaskFile(`metadata "${key}" has ${text.length} characters; at most ${most} are allowed`)
}

/** Writes a task file, its mask as packed bits and its head as float32: readTaskFile gives the same task again. */
export function serializeTaskFile(task: TaskContent): Uint8Array {
  const { mask, head } = task
  const metadata = {
    format: taskFormat,
    prototype: task.prototype,
    combine: task.combine,
    problem_type: task.problemType,
    pooling: task.pooling,
    ...(task.labels.length > 0 && { labels: JSON.stringify(task.labels) }),
    ...(task.problemType === 'multi_label_classification' && { threshold: String(task.threshold) }),
    ...(task.problemType === 'feature_extraction' && { normalize: String(task.normalize) }),
    ...(task.description !== undefined && { description: task.description }),
    ...(task.metrics && { metrics: JSON.stringify(task.metrics) }),
    ...(task.range && { range: JSON.stringify(task.range) }),
    ...(head?.dense && { head_activation: head.dense.activation }),
  }
  return serializeSafetensors(metadata, {
    mask: { dtype: 'U8', shape: [mask.layers, mask.bits.byteLength / mask.layers], data: mask.bits },
    ...(head && linearTensors('head', head.output)),
    ...(head?.dense && linearTensors('head.dense', head.dense)),
  })
}

const linearTensors = (name: string, { inputs, outputs, weight, bias }: Linear): Record<string, TensorData> => ({
  [`${name}.weight`]: { dtype: 'F32', shape: [outputs, inputs], data: bytesOf(weight) },
  [`${name}.bias`]: { dtype: 'F32', shape: [outputs], data: bytesOf(bias) },
})

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength)

function throwInvalidTaskFile(message: string): never {
  throw new Problem('invalid_task_file', message)
}

function* readAnswering(file: Uint8Array, header: SafetensorsHeader, metadata: Metadata): Steps<Answering> {
  const problemType = metadata.choice('problem_type', problemTypes)
  const onlyOf = (key: string, owner: ProblemType) => {
    if (problemType !== owner && metadata.fields.has(key))
      throwInvalidTaskFile(`metadata "${key}" is given; a ${problemType} has none, only a ${owner} has`)
  }
  onlyOf('threshold', 'multi_label_classification')
  onlyOf('normalize', 'feature_extraction')
  switch (problemType) {
    case 'feature_extraction': {
      const given = [...header.tensors.keys()].find((name) => name.startsWith('head.'))
      if (given !== undefined)
        throwInvalidTaskFile(`tensor ${quoted(given)} is given; a feature_extraction has no head`)
      return { problemType, normalize: metadata.choice('normalize', ['true', 'false'], 'true') === 'true' }
    }
    case 'multi_label_classification': {
      const threshold = metadata.fields.has('threshold')
        ? metadata.json('threshold', thresholdNumber, 'a number above 0 and below 1')
        : defaultThreshold
      return { problemType, threshold, head: yield* readHead(file, header, metadata) }
    }
    case 'single_label_classification':
    case 'regression':
    case 'token_classification':
      return { problemType, head: yield* readHead(file, header, metadata) }
  }
}

function* readLabels(metadata: Metadata, { problemType, head }: Answering): Steps<readonly string[]> {
  if (problemType === 'regression' || problemType === 'feature_extraction') {
    if (problemType === 'regression' && head.output.outputs !== 1)
      throwInvalidTaskFile(`head.weight has ${head.output.outputs} rows; a regression has exactly one output`)
    if (metadata.fields.has('labels')) throwInvalidTaskFile(`metadata "labels" is given; a ${problemType} has none`)
    return []
  }
  const { outputs } = head.output
  const text = metadata.text('labels')
  const { labels: most, labelLength } = taskFileLimits
  const seen = new Set<string>()
  const labels = yield* readStrings(text, (label, at) => {
    if (at >= most) throwInvalidTaskFile(`metadata "labels" has more than ${most} labels`)
    if (label.length === 0 || label.length > labelLength)
      throwInvalidTaskFile(
        `metadata "labels": label ${at} has ${label.length} characters; expected 1 to ${labelLength}`,
      )
    if (seen.has(label)) throwInvalidTaskFile(`metadata "labels" names ${quoted(label)} twice`)
    seen.add(label)
  })
  if (labels === undefined)
    return throwInvalidTaskFile(`metadata "labels" is ${quoted(text)}; expected an array of label names`)
  if (labels.length !== outputs) throwInvalidTaskFile(`${labels.length} labels, but head.weight has ${outputs} rows`)
  return labels
}

function readTargetRange(metadata: Metadata): [number, number] {
  const range = metadata.json('range', rangePair, 'two numbers, smallest first')
  return range[0] < range[1]
    ? range
    : throwInvalidTaskFile('metadata "range": the first number must be the smaller one')
}

function tensor(header: SafetensorsHeader, name: string, rank: number): TensorInfo {
  const info = header.tensors.get(name) ?? throwInvalidTaskFile(`tensor "${name}" is missing`)
  if (info.shape.length !== rank || info.shape.some((dim) => dim === 0))
    throwInvalidTaskFile(
      `tensor "${name}" has shape ${shapeText(info.shape)}; expected ${rank} dimensions, none of them 0`,
    )
  return info
}

function* readMask(file: Uint8Array, header: SafetensorsHeader): Steps<TaskMask> {
  const info = tensor(header, 'mask', 2)
  const [rows = 0, columns = 0] = info.shape
  const bytes = tensorBytes(file, info)
  if (info.dtype === 'U8') return { layers: rows, weights: columns * 8, exact: false, bits: bytes }
  if (info.dtype !== 'BOOL') return throwInvalidTaskFile(`mask is ${info.dtype}; expected U8 (packed bits) or BOOL`)
  const rowBytes = Math.ceil(columns / 8)
  const bits = new Uint8Array(rows * rowBytes)
  for (let index = 0, row = 0, column = 0; index < bytes.length; index++, column++) {
    if (column === columns) [row, column] = [row + 1, 0]
    const bit = bytes[index] ?? 0
    if (bit > 1) throwInvalidTaskFile(`mask: byte ${index} is ${bit}; a BOOL is 0 or 1`)
    const byte = row * rowBytes + (column >> 3)
    bits[byte] = (bits[byte] ?? 0) | (bit << (column & 7))
    if (index % elementsPerStep === elementsPerStep - 1) yield
  }
  return { layers: rows, weights: columns, exact: true, bits }
}

function* readHead(file: Uint8Array, header: SafetensorsHeader, metadata: Metadata): Steps<Head> {
  const output = yield* readLinear(file, header, 'head')
  if (!header.tensors.has('head.dense.weight')) {
    if (header.tensors.has('head.dense.bias')) throwInvalidTaskFile('tensor "head.dense.weight" is missing')
    return { output }
  }
  const activation = metadata.choice('head_activation', headActivationNames, 'tanh')
  const dense = { ...(yield* readLinear(file, header, 'head.dense')), activation }
  if (output.inputs !== dense.outputs)
    throwInvalidTaskFile(`head.weight takes ${output.inputs} values, but head.dense.weight gives ${dense.outputs}`)
  return { dense, output }
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

function* finiteFloats(file: Uint8Array, name: string, info: TensorInfo): Steps<Float32Array> {
  if (info.dtype !== 'F32' && info.dtype !== 'F16')
    throwInvalidTaskFile(`${name} is ${info.dtype}; expected F32 or F16`)
  const values = yield* floatsInSteps(file, name, info)
  // The sum is not a number if any of them is not finite. That is faster than a test of each.
  let zeros = 0
  for (let i = 0; i < values.length; i++) {
    zeros += 0 * (values[i] as number)
    if (i % elementsPerStep === elementsPerStep - 1) yield
  }
  if (zeros === 0) return values
  const at = values.findIndex((value) => !Number.isFinite(value))
  return throwInvalidTaskFile(`${name}: element ${at} is ${values[at]}; expected finite numbers`)
}
