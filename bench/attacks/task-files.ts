// Task files for attacks: valid files for the bundled prototype, with heads, labels and metadata of any size.

import { parseHeader, serializeSafetensors, type TensorData } from '../../src/formats/safetensors.js'
import type { ProblemType } from '../../src/petl/task.js'
import { taskFileBytes } from '../support/material.js'

export interface TaskShape {
  readonly problemType?: ProblemType
  /** The labels, or their number. */
  readonly labels?: number | readonly string[]
  /** Width of a dense layer before the head. A narrow one makes a head with many labels small. */
  readonly dense?: number
  readonly metadata?: Readonly<Record<string, string>>
  /** Files of different versions have different digests. */
  readonly version?: number
}

const model = parseHeader(taskFileBytes('sst2'))
const shapeOf = (tensor: string): readonly number[] => model.tensors.get(tensor)?.shape ?? []
const [, maskBytes = 0] = shapeOf('mask')
const [, hiddenSize = 0] = shapeOf('head.weight')

/** The default limit of a file, minus the size of its other parts. */
export const largestBytes = 16 * 1024 * 1024 - 100_000

/** Number of labels that fill the largest file without a dense layer. */
export const widestHead = Math.floor(largestBytes / (2 * hiddenSize + 10))

/** Numbers of labels to try. The server may reject the larger ones. */
export const wideHeads = [widestHead, 10_000, 3_000, 1_000, 300]
export const labelCounts = [100_000, 30_000, 10_000, 3_000, 1_000, 300]

export function attackTask({
  problemType = 'single_label_classification',
  labels = 2,
  dense,
  metadata = {},
  version = 0,
}: TaskShape): Buffer<ArrayBuffer> {
  const names = typeof labels === 'number' ? Array.from({ length: labels }, (_, index) => index.toString(36)) : labels
  const bias = zeros(names.length)
  // As float16 this is a small, finite number.
  new DataView(bias.data.buffer).setUint16(0, version, true)
  const hasHead = problemType !== 'feature_extraction'
  return file(
    {
      problem_type: problemType,
      ...(hasHead && problemType !== 'regression' && { labels: JSON.stringify(names) }),
      ...(!hasHead && { description: `version ${version}` }),
      ...metadata,
    },
    hasHead && {
      'head.weight': zeros(names.length, dense ?? hiddenSize),
      'head.bias': bias,
      ...(dense !== undefined && {
        'head.dense.weight': zeros(dense, hiddenSize),
        'head.dense.bias': zeros(dense),
      }),
    },
  )
}

/** A task without a head, whose mask may have an invalid type or shape. */
export const maskTask = (mask: TensorData): Buffer<ArrayBuffer> =>
  file({ problem_type: 'feature_extraction' }, { mask })

/** A task with many additional empty tensors. */
export const manyTensorsTask = (count: number): Buffer<ArrayBuffer> =>
  file(
    { problem_type: 'feature_extraction' },
    Object.fromEntries(Array.from({ length: count }, (_, index) => [`t${index}`, zeros(0)])),
  )

function file(
  metadata: Readonly<Record<string, string>>,
  tensors: Readonly<Record<string, TensorData>> | false,
): Buffer<ArrayBuffer> {
  const common = {
    format: 'propetl-task/1',
    prototype: model.metadata.get('prototype') ?? '',
    combine: 'none',
    pooling: 'mean',
  }
  const mask: TensorData = { dtype: 'U8', shape: [1, maskBytes], data: new Uint8Array(maskBytes).fill(0xff) }
  return Buffer.from(Uint8Array.from(serializeSafetensors({ ...common, ...metadata }, { mask, ...tensors })).buffer)
}

const zeros = (...shape: readonly number[]) =>
  ({ dtype: 'F16', shape, data: new Uint8Array(2 * shape.reduce((product, size) => product * size, 1)) }) as const
