// A backbone's weights as constants of a graph. The bytes stay in the safetensors files, and onnxruntime reads them there.

import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { isShape, shapeText, type TensorType, tensorFloats } from '../formats/safetensors.js'
import type { Constant, DataType, FileRange, GraphBuilder, Value } from '../graph/graph.js'
import { cast, gather } from '../graph/operators.js'
import { Problem } from '../problem.js'
import type { StoredTensor, StoredWeights } from './stored-weights.js'

const dataTypes: Partial<Record<TensorType, DataType>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }

/** A backbone's tensors, with its directory for errors. */
type WeightsSource = Pick<StoredWeights, 'tensors' | 'weightsSource'> & { readonly directory: string }

export interface WeightsOptions {
  /** The start of all tensor names in the files, such as `bert.` if the checkpoint also contains a head. */
  readonly prefix: string
  /**
   * Whether tables are looked up as they are stored and the result is converted to float32. Otherwise tables are
   * converted when the model loads, for execution providers that cannot gather float16 or bfloat16.
   */
  readonly gatherHalf: boolean
}

/** One of several equal parts of a tensor, along its first axis: such as the query part of a fused projection. */
export interface Part {
  /** From 0. */
  readonly at: number
  readonly of: number
}

export class Weights {
  constructor(
    readonly graph: GraphBuilder,
    readonly source: WeightsSource,
    readonly options: WeightsOptions,
    /** Comes before every name that the methods take. */
    readonly path = '',
  ) {}

  /** The same weights, by their names below a layer or a block. */
  below(name: string): Weights {
    return new Weights(this.graph, this.source, this.options, `${this.path}${name}.`)
  }

  /**
   * A weight as float32. onnxruntime folds the conversion when it loads the model.
   * @param shape of the weight. If it is a part of a tensor, the tensor has `part.of` times as many entries.
   * @throws Problem `invalid_backbone` that names the tensor
   */
  float(name: string, shape: readonly number[], part: Part = { at: 0, of: 1 }): Value {
    const [count = 1, ...entry] = shape
    const stored = this.#stored(name, [part.of * count, ...entry], { first: part.at * count, count })
    return cast(this.graph, stored, 'float32')
  }

  /**
   * Entries of a table, float32.
   * @param shape of the table in the file
   * @param index int32; index 0 is the entry `first` of the table in the file
   * @throws Problem `invalid_backbone` that names the tensor
   */
  lookUp(name: string, shape: readonly [entries: number, width: number], index: Value, first = 0): Value {
    const table = this.#stored(name, shape, { first, count: shape[0] - first })
    return this.options.gatherHalf
      ? cast(this.graph, gather(this.graph, table, index), 'float32')
      : gather(this.graph, cast(this.graph, table, 'float32'), index)
  }

  /** Some entries of a tensor, along its first axis, in the type of the file. */
  #stored(
    name: string,
    shape: readonly number[],
    { first, count }: { readonly first: number; readonly count: number },
  ): Value {
    const { info, dtype } = this.#find(this.path + name, shape)
    const [entries = 1, ...entry] = shape
    const bytes = info.length / entries
    const range = { file: info.file, offset: info.offset + bytes * first, length: bytes * count }
    const constant = this.path + name + (first + count < entries || first > 0 ? `[${first}:${first + count}]` : '')
    // Two parts of a layer may share a weight.
    return this.graph.namedConstant(constant) ?? this.graph.constant(constant, dtype, [count, ...entry], range)
  }

  #find(name: string, shape: readonly number[]): { readonly info: StoredTensor; readonly dtype: DataType } {
    const { tensors, directory, weightsSource } = this.source
    const { prefix } = this.options
    const throwInvalidTensor = (what: string): never => {
      throw new Problem('invalid_backbone', `${join(directory, weightsSource)}: tensor "${prefix}${name}" ${what}`)
    }
    const tensor = (spelling: string) => tensors.get(prefix + spelling)
    const info = tensor(name) ?? tensor(olderSpelling(name)) ?? throwInvalidTensor(`${shapeText(shape)} is missing`)
    if (!isShape(info.shape, shape))
      throwInvalidTensor(`has shape ${shapeText(info.shape)}, but config.json requires ${shapeText(shape)}`)
    const dtype = dataTypes[info.dtype] ?? throwInvalidTensor(`is ${info.dtype}; expected F32, F16 or BF16`)
    return { info, dtype }
  }
}

/**
 * @param folder where the constants' files are
 * @returns a reader of the values of float constants
 */
export const floatsOf =
  (folder: string) =>
  ({ value: { name, dtype, shape }, data }: Constant): Float32Array => {
    const type = (Object.keys(dataTypes) as TensorType[]).find((stored) => dataTypes[stored] === dtype)
    if (type === undefined) throw new Error(`"${name}" is ${dtype}, not a float type`)
    const bytes = data instanceof Uint8Array ? data : readFileRange(join(folder, data.file), data)
    return tensorFloats(bytes, name, {
      dtype: type,
      shape: shape as readonly number[],
      offset: 0,
      length: bytes.length,
    })
  }

function readFileRange(path: string, { offset, length }: FileRange): Uint8Array {
  const file = openSync(path, 'r')
  try {
    const bytes = new Uint8Array(length)
    readSync(file, bytes, 0, length, offset)
    return bytes
  } finally {
    closeSync(file)
  }
}

/** The names of layer normalisation in checkpoints converted from TensorFlow, such as bert-base-uncased. */
const olderSpelling = (name: string): string =>
  name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta')
