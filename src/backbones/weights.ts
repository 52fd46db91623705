// A backbone's weights as constants of a graph. The bytes stay in the safetensors file: onnxruntime reads them there.

import type { TensorType } from '../formats/safetensors.js'
import type { DataType, GraphBuilder, Value } from '../graph/graph.js'
import { cast } from '../graph/operators.js'
import { Problem } from '../problem.js'
import type { Backbone } from './backbone.js'

const dataTypes: Partial<Record<TensorType, DataType>> = { F32: 'float32', F16: 'float16' }

export class Weights {
  readonly #prefix: string

  /** @param prefixes under which files may keep their names: `bert.` where a head was saved beside the backbone */
  constructor(
    readonly graph: GraphBuilder,
    readonly backbone: Backbone,
    prefixes: readonly string[],
    probe: string,
  ) {
    this.#prefix = prefixes.find((prefix) => backbone.weights.tensors.has(prefix + probe)) ?? ''
  }

  /** A weight in the type of the file. @throws Problem `invalid_backbone` naming the tensor */
  stored(name: string, shape: readonly number[]): Value {
    const { weights, weightsFile, directory } = this.backbone
    const refuse = (what: string): never => {
      throw new Problem('invalid_backbone', `${directory}/${weightsFile}: tensor "${this.#prefix}${name}" ${what}`)
    }
    const info = weights.tensors.get(this.#prefix + name) ?? refuse(`[${shape.join(', ')}] is missing`)
    if (info.shape.join() !== shape.join())
      refuse(`has shape [${info.shape.join(', ')}]; config.json asks for [${shape.join(', ')}]`)
    const dtype = dataTypes[info.dtype] ?? refuse(`is ${info.dtype}; expected F32 or F16`)
    return this.graph.constant(name, dtype, shape, { file: weightsFile, offset: info.offset, length: info.length })
  }

  /** A weight as float32; onnxruntime folds the conversion when it loads the model. */
  float(name: string, shape: readonly number[]): Value {
    return cast(this.graph, this.stored(name, shape), 'float32')
  }
}
