// A backbone's weights as constants of a graph. The bytes stay in the safetensors files: onnxruntime
// reads them there.

import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { isShape, shapeText, type TensorType, tensorFloats } from '../formats/safetensors.js'
import type { Constant, DataType, FileRange, GraphBuilder, Value } from '../graph/graph.js'
import { cast } from '../graph/operators.js'
import { Problem } from '../problem.js'
import type { Backbone } from './backbone.js'
import type { StoredTensor } from './stored-weights.js'

const dataTypes: Partial<Record<TensorType, DataType>> = { F32: 'float32', F16: 'float16', BF16: 'bfloat16' }

export class Weights {
  readonly #prefix: string

  /**
   * @param prefix under which files may keep their names: `bert.` where a head was saved beside the backbone
   * @param probe a tensor that every file has: it tells whether this one uses the prefix
   */
  constructor(
    readonly graph: GraphBuilder,
    readonly backbone: Backbone,
    prefix: string,
    probe: string,
  ) {
    this.#prefix = backbone.tensors.has(prefix + probe) ? prefix : ''
  }

  /**
   * A weight in the type of the file.
   * @param skip rows at its beginning that are left out
   * @throws Problem `invalid_backbone` naming the tensor
   */
  stored(name: string, shape: readonly number[], skip = 0): Value {
    const { info, dtype } = this.#find(name, shape)
    const [rows = 1, ...row] = shape
    const skipped = (info.length / rows) * skip
    const range = { file: info.file, offset: info.offset + skipped, length: info.length - skipped }
    return this.graph.constant(name, dtype, [rows - skip, ...row], range)
  }

  /** A weight as float32; onnxruntime folds the conversion when it loads the model. */
  float(name: string, shape: readonly number[]): Value {
    return cast(this.graph, this.stored(name, shape), 'float32')
  }

  #find(name: string, shape: readonly number[]): { readonly info: StoredTensor; readonly dtype: DataType } {
    const { tensors, directory, weightsSource } = this.backbone
    const throwInvalidTensor = (what: string): never => {
      throw new Problem(
        'invalid_backbone',
        `${join(directory, weightsSource)}: tensor "${this.#prefix}${name}" ${what}`,
      )
    }
    const tensor = (spelling: string) => tensors.get(this.#prefix + spelling)
    const info = tensor(name) ?? tensor(olderSpelling(name)) ?? throwInvalidTensor(`${shapeText(shape)} is missing`)
    if (!isShape(info.shape, shape))
      throwInvalidTensor(`has shape ${shapeText(info.shape)}; config.json asks for ${shapeText(shape)}`)
    const dtype = dataTypes[info.dtype] ?? throwInvalidTensor(`is ${info.dtype}; expected F32, F16 or BF16`)
    return { info, dtype }
  }
}

/** @returns what reads the numbers of a constant, which may lie in a file of the folder */
export const floatsOf =
  (folder: string) =>
  ({ value: { name, dtype, shape }, data }: Constant): Float32Array => {
    const type = (Object.keys(dataTypes) as TensorType[]).find((stored) => dataTypes[stored] === dtype)
    if (type === undefined) throw new Error(`"${name}" holds no floats`)
    const bytes = data instanceof Uint8Array ? data : readFileRange(join(folder, data.file), data)
    return tensorFloats(bytes, name, {
      dtype: type,
      shape: shape as readonly number[],
      offset: 0,
      length: bytes.length,
    })
  }

/** Some bytes of a file. */
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

/** As checkpoints converted from TensorFlow spell a normalisation's two tensors, bert-base-uncased among them. */
const olderSpelling = (name: string): string =>
  name.replace(/LayerNorm\.weight$/, 'LayerNorm.gamma').replace(/LayerNorm\.bias$/, 'LayerNorm.beta')
