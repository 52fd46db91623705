// The inputs of dense layers with constant weights, x · weightᵀ with or without a bias, and the values of their channels.

import { bytesOf, type Constant, type Graph, type Node, type Value } from '../graph.js'

/** The values that each channel (column) of an input takes on some texts, [I] each. */
export interface ChannelRanges {
  readonly low: Float32Array
  readonly high: Float32Array
  readonly mean: Float32Array
}

export interface DenseShape {
  readonly inputs: number
  readonly outputs: number
}

/** The size of a dense layer. Undefined: the node is none. */
export function denseShape({ operator, inputs: [, weight], attributes }: Node): DenseShape | undefined {
  const [outputs, inputs] = weight?.shape ?? []
  const isDense = operator === 'Gemm' && attributes.transA !== 1 && attributes.transB === 1
  return isDense && typeof inputs === 'number' && typeof outputs === 'number' ? { inputs, outputs } : undefined
}

/** The inputs of the dense layers, each with the number of outputs of all layers that read it. */
export function denseInputs({ nodes }: Graph): ReadonlyMap<Value, number> {
  const found = new Map<Value, number>()
  for (const node of nodes) {
    const [x] = node.inputs
    const shape = denseShape(node)
    if (x && shape) found.set(x, (found.get(x) ?? 0) + shape.outputs)
  }
  return found
}

const reductions = { low: 'ReduceMin', high: 'ReduceMax', mean: 'ReduceMean' } as const
const parts = Object.keys(reductions) as readonly (keyof ChannelRanges)[]

/** The output of {@link withChannelRanges} for a part of the ranges of an input. */
export const rangeName = (part: keyof ChannelRanges, input: string): string => `${part} of ${input}`

/** The graph with the ranges of the inputs of its dense layers as outputs, instead of its own outputs. */
export function withChannelRanges(graph: Graph): Graph {
  const { inputs, constants, nodes } = graph
  const overRows: Constant = {
    value: { name: 'over_rows', dtype: 'int64', shape: [1] },
    data: bytesOf(BigInt64Array.of(0n)),
  }
  const ranges = Array.from(denseInputs(graph).keys()).flatMap((x) =>
    parts.map((part) => {
      const output: Value = { name: rangeName(part, x.name), dtype: 'float32', shape: x.shape.slice(1) }
      return { part, x, output }
    }),
  )
  const reduced = ranges.map(({ part, x, output }): Node => {
    const attributes = { keepdims: 0 }
    return { operator: reductions[part], domain: '', inputs: [x, overRows.value], outputs: [output], attributes }
  })
  return {
    inputs,
    constants: [...constants, overRows],
    nodes: [...nodes, ...reduced],
    outputs: reduced.map(({ outputs: [output] }) => output),
  }
}
