// A small typed graph of values, nodes and constants. It knows ONNX's operators only by name; operators.ts gives each its
// signature and the shape of its result.

export type DataType =
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'int32'
  | 'int64'
  | 'int8'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'bool'

/** A size, or the name of a size that is known only at run time. */
export type Dimension = number | string
export type Shape = readonly Dimension[]

export interface Value {
  readonly name: string
  readonly dtype: DataType
  readonly shape: Shape
}

/** Looks up values of a graph by name. */
export type ValuesByName = (name: string) => Value

/** @returns a look-up that throws an Error for an unknown name */
export function byName(values: Iterable<readonly [string, Value]>): ValuesByName {
  const known = new Map(values)
  return (name) => {
    const value = known.get(name)
    if (value === undefined) throw new Error(`no value has the name "${name}"`)
    return value
  }
}

export type Attribute = number | string | readonly number[] | { readonly float: number }

export interface Node {
  readonly operator: string
  /** `''` for the operators of ONNX, `com.microsoft` for those of onnxruntime. */
  readonly domain: '' | 'com.microsoft'
  /** An omitted optional input is `undefined`. */
  readonly inputs: readonly (Value | undefined)[]
  /** The first output is required. An omitted optional one is `undefined`. */
  readonly outputs: readonly [Value, ...(Value | undefined)[]]
  readonly attributes: Readonly<Record<string, Attribute>>
}

/** Bytes that are not copied into the model: a range of a file in the model's folder. */
export interface FileRange {
  readonly file: string
  readonly offset: number
  readonly length: number
}

export interface Constant {
  readonly value: Value
  readonly data: Uint8Array | FileRange
}

export interface Graph {
  readonly inputs: readonly Value[]
  readonly outputs: readonly Value[]
  readonly constants: readonly Constant[]
  /** In topological order: a node comes after the nodes that produce its inputs. */
  readonly nodes: readonly Node[]
}

/** Collects the parts of a graph. Its methods return the value that they add. */
export class GraphBuilder {
  readonly #inputs: Value[] = []
  readonly #constants: Constant[] = []
  readonly #nodes: Node[] = []
  readonly #names = new Set<string>()
  readonly #constantOf = new Map<string, Value>()

  input(name: string, dtype: DataType, shape: Shape): Value {
    const value = this.#declare(name, dtype, shape)
    this.#inputs.push(value)
    return value
  }

  /** A constant whose bytes are part of the model or of a file in its folder. */
  constant(name: string, dtype: DataType, shape: readonly number[], data: Uint8Array | FileRange): Value {
    const value = this.#declare(name, dtype, shape)
    this.#constants.push({ value, data })
    this.#constantOf.set(name, value)
    return value
  }

  /** The constant of a name. Undefined: there is none. */
  namedConstant(name: string): Value | undefined {
    return this.#constantOf.get(name)
  }

  /** A float32 scalar. Equal numbers share one constant. */
  scalar(number: number): Value {
    const name = `scalar_${number}`
    return this.#constantOf.get(name) ?? this.constant(name, 'float32', [], bytesOf(Float32Array.of(number)))
  }

  /** A list of int64, for shapes and axes of operators. Equal lists share one constant. */
  integers(numbers: readonly number[]): Value {
    const name = `integers_${numbers.join('_')}`
    return (
      this.#constantOf.get(name) ??
      this.constant(name, 'int64', [numbers.length], bytesOf(BigInt64Array.from(numbers, BigInt)))
    )
  }

  node(
    operator: string,
    inputs: readonly (Value | undefined)[],
    output: { readonly dtype: DataType; readonly shape: Shape },
    options: { readonly domain?: Node['domain']; readonly attributes?: Node['attributes'] } = {},
  ): Value {
    const value = this.#declare(`${operator}_${this.#nodes.length}`, output.dtype, output.shape)
    this.#nodes.push({
      operator,
      domain: options.domain ?? '',
      inputs,
      outputs: [value],
      attributes: options.attributes ?? {},
    })
    return value
  }

  /** Makes a value an output of the graph with the given name. */
  output(name: string, value: Value): Value {
    const named = this.#declare(name, value.dtype, value.shape)
    this.#nodes.push({ operator: 'Identity', domain: '', inputs: [value], outputs: [named], attributes: {} })
    return named
  }

  /**
   * Adds optional outputs to the operator that produces `value`.
   * @param first index of the first of them. Outputs before it that were not added are omitted.
   */
  addOutputs(value: Value, outputs: readonly Value[], first = 1): readonly Value[] {
    const at = this.#nodes.findLastIndex((node) => node.outputs[0] === value)
    const node = this.#nodes[at]
    if (node === undefined) throw new Error(`no node produces "${value.name}"`)
    const added = outputs.map(({ name, dtype, shape }) => this.#declare(name, dtype, shape))
    const omitted = new Array<undefined>(first - node.outputs.length).fill(undefined)
    this.#nodes[at] = { ...node, outputs: [...node.outputs, ...omitted, ...added] }
    return added
  }

  /** The nodes that were added so far, in topological order. */
  get nodes(): readonly Node[] {
    return this.#nodes
  }

  get inputs(): readonly Value[] {
    return this.#inputs
  }

  /** The numbers of a list from {@link integers}. */
  integersOf(value: Value): readonly number[] {
    const data = this.#constants.find((constant) => constant.value === value)?.data
    if (value.dtype !== 'int64' || !(data instanceof Uint8Array))
      throw new Error(`"${value.name}" is not a list of integers`)
    return Array.from(new BigInt64Array(data.slice().buffer), Number)
  }

  build(outputs: readonly Value[]): Graph {
    return { inputs: this.#inputs, outputs, constants: this.#constants, nodes: this.#nodes }
  }

  #declare(name: string, dtype: DataType, shape: Shape): Value {
    if (this.#names.has(name)) throw new Error(`the graph already has a value "${name}"`)
    this.#names.add(name)
    return { name, dtype, shape }
  }
}

export const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
