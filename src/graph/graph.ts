// A small typed graph: values, the nodes that make them, and the constants they start from.
// It knows ONNX's operators by name only; operators.ts gives each its signature and shape rule.

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

/** A dimension is a size, or the name of one that is known only when the graph runs. */
export type Dimension = number | string
export type Shape = readonly Dimension[]

export interface Value {
  readonly name: string
  readonly dtype: DataType
  readonly shape: Shape
}

/** Values of a graph by names that its maker gave them. */
export type ValuesByName = (name: string) => Value

/** @returns a look-up that throws an Error for a name that is not there */
export function byName(values: Iterable<readonly [string, Value]>): ValuesByName {
  const known = new Map(values)
  return (name) => {
    const value = known.get(name)
    if (value === undefined) throw new Error(`there is no value "${name}"`)
    return value
  }
}

export type Attribute = number | string | readonly number[] | { readonly float: number }

export interface Node {
  readonly operator: string
  /** `''` for ONNX's own operators, `com.microsoft` for onnxruntime's. */
  readonly domain: '' | 'com.microsoft'
  /** An optional input that is left out is `undefined`. */
  readonly inputs: readonly (Value | undefined)[]
  /** The first one is always there; an optional one that is left out is `undefined`. */
  readonly outputs: readonly [Value, ...(Value | undefined)[]]
  readonly attributes: Readonly<Record<string, Attribute>>
}

/** Bytes that stay where they are: a range of a file beside the model. */
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
  /** In topological order: a node comes after those that make its inputs. */
  readonly nodes: readonly Node[]
}

/** Collects the parts of a graph; every call returns the value that it added. */
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

  /** A constant whose bytes are part of the model, or a range of a file beside it. */
  constant(name: string, dtype: DataType, shape: readonly number[], data: Uint8Array | FileRange): Value {
    const value = this.#declare(name, dtype, shape)
    this.#constants.push({ value, data })
    this.#constantOf.set(name, value)
    return value
  }

  /** A float32 scalar, kept once for each number. */
  scalar(number: number): Value {
    const name = `scalar_${number}`
    return this.#constantOf.get(name) ?? this.constant(name, 'float32', [], bytesOf(Float32Array.of(number)))
  }

  /** A list of int64, as shapes and axes are given to operators, kept once for each list. */
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

  /** Gives a value the name under which it leaves the graph. */
  output(name: string, value: Value): Value {
    const named = this.#declare(name, value.dtype, value.shape)
    this.#nodes.push({ operator: 'Identity', domain: '', inputs: [value], outputs: [named], attributes: {} })
    return named
  }

  /**
   * Names further outputs of the operator that makes `value`: optional ones that only some callers need.
   * @param first the number of the first of them; those before it that have no name are left out
   */
  addOutputs(value: Value, outputs: readonly Value[], first = 1): readonly Value[] {
    const at = this.#nodes.findLastIndex((node) => node.outputs[0] === value)
    const node = this.#nodes[at]
    if (node === undefined) throw new Error(`no node makes "${value.name}"`)
    const added = outputs.map(({ name, dtype, shape }) => this.#declare(name, dtype, shape))
    const left = new Array<undefined>(first - node.outputs.length).fill(undefined)
    this.#nodes[at] = { ...node, outputs: [...node.outputs, ...left, ...added] }
    return added
  }

  /** The nodes so far, in topological order. */
  get nodes(): readonly Node[] {
    return this.#nodes
  }

  get inputs(): readonly Value[] {
    return this.#inputs
  }

  /** The numbers of a list that {@link integers} made. */
  integersOf(value: Value): readonly number[] {
    const data = this.#constants.find((constant) => constant.value === value)?.data
    if (value.dtype !== 'int64' || !(data instanceof Uint8Array)) throw new Error(`"${value.name}" is no integer list`)
    return Array.from(new BigInt64Array(data.slice().buffer), Number)
  }

  build(outputs: readonly Value[]): Graph {
    return { inputs: this.#inputs, outputs, constants: this.#constants, nodes: this.#nodes }
  }

  #declare(name: string, dtype: DataType, shape: Shape): Value {
    if (this.#names.has(name)) throw new Error(`the graph has a value "${name}" already`)
    this.#names.add(name)
    return { name, dtype, shape }
  }
}

export const bytesOf = (array: ArrayBufferView): Uint8Array =>
  new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
