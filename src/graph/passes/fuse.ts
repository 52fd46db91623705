// Passes that replace several operators by one operator of onnxruntime. This starts fewer kernels and moves fewer bytes
// between them. Each comment names the execution providers that have a kernel.

import type { Dimension, GraphBuilder, Node, Value } from '../graph.js'
import { gemm, reshape } from '../operators.js'
import { any, constantOf, match, type Pattern, producedBy } from './pattern.js'
import { type Pass, type Rewriting, rewrite } from './rewrite.js'

const microsoft = { domain: 'com.microsoft' } as const

/**
 * A product with a transposed matrix, without a transposed copy. Kernels: CPU, CUDA. The copy of a constant is made only
 * once, when onnxruntime loads the model.
 */
export const fuseTransposedProducts: Pass = (graph) =>
  rewrite(graph, (node, rewriting) => {
    const { g, producer, toNew } = rewriting
    const [a, b] = node.inputs
    if (node.operator !== 'MatMul' || !a || !b) return undefined
    const transpose = producer(b)
    const [matrix] = transpose?.inputs ?? []
    if (transpose?.operator !== 'Transpose' || !matrix || !swapsLast(transpose)) return undefined
    if (constantOf(matrix, rewriting)) return undefined
    const options = { ...microsoft, attributes: { transB: 1 } }
    return [g.node('FusedMatMul', [toNew(a), toNew(matrix)], node.outputs[0], options)]
  })

function swapsLast({ attributes }: Node): boolean {
  const order = attributes.perm as readonly number[]
  const rank = order.length
  return order.every((axis, at) => axis === (at < rank - 2 ? at : 2 * rank - 3 - at))
}

/**
 * Layer normalisation of a sum, with the bias of the dense layer before it. Kernels: CPU, CUDA. CUDA computes the
 * statistics in float32 for every type of values.
 */
export const fuseNorms: Pass = (graph) =>
  rewrite(graph, (node, rewriting) => {
    const { g, producer, toNew, uses, replace } = rewriting
    const [x, weight, bias] = node.inputs
    if (node.operator !== 'LayerNormalization' || node.outputs.length > 1 || !x || !weight) return undefined
    const sum = producer(x)
    const [a, b] = sum?.inputs ?? []
    if (sum?.operator !== 'Add' || !a || !b || a.shape.join() !== b.shape.join()) return undefined
    const first = withoutBias(a, rewriting)
    const second = first.bias ? { value: toNew(b), bias: first.bias } : withoutBias(b, rewriting)
    const inputs = [first.value, second.value, toNew(weight), bias && toNew(bias), second.bias]
    const y = g.node('SkipLayerNormalization', inputs, node.outputs[0], withEpsilon(node))
    // Other nodes that use the sum take it from this operator.
    if (uses(x) > 1) {
      const [further] = g.addOutputs(y, [{ ...x, name: `${y.name}_sum` }], 3)
      if (further) replace(x, further)
    }
    return [y]
  })

const withEpsilon = ({ attributes: { epsilon } }: Node) => ({
  ...microsoft,
  attributes: epsilon === undefined ? {} : { epsilon },
})

/** Splits a value into the part before a bias [H] was added, and the bias. */
function withoutBias(value: Value, rewriting: Rewriting): { readonly value: Value; readonly bias?: Value } {
  const { g, producer, toNew } = rewriting
  const node = producer(value)
  const [a, b, c] = node?.inputs ?? []
  if (node?.operator === 'Gemm' && a && b && c?.shape.length === 1)
    return { value: product(g, node, toNew(a), toNew(b)), bias: toNew(c) }
  if (node?.operator === 'Add' && a && b?.shape.length === 1 && constantOf(b, rewriting))
    return { value: toNew(a), bias: toNew(b) }
  return { value: toNew(value) }
}

/** The product of a Gemm, without its bias. */
const product = (g: GraphBuilder, { attributes }: Node, a: Value, b: Value): Value =>
  gemm(g, a, b, { transA: attributes.transA === 1 ? 1 : 0, transB: attributes.transB === 1 ? 1 : 0 })

const lookedUp = (name: string): Pattern =>
  producedBy('Gather', [any(`${name} table`), any(`${name} index`)], { axis: 0 })
const typedWords = producedBy('Add', [lookedUp('word'), lookedUp('type')])
const embeddings = [typedWords, lookedUp('word')].map((words) => producedBy('Add', [words, lookedUp('position')]))

/** The normalised sum of word, position and possibly token type embeddings. Kernels: CPU, CUDA. */
export const fuseEmbeddings: Pass = (graph) =>
  rewrite(graph, (node, rewriting) => {
    const { g, toNew } = rewriting
    const [x, weight, bias] = node.inputs
    const output = node.outputs[0]
    if (node.operator !== 'LayerNormalization' || !x || !weight || !bias || output.shape.length !== 2) return undefined
    const [found] = embeddings.flatMap((pattern) => match(pattern, x, rewriting) ?? [])
    if (found === undefined) return undefined
    // The operator needs rows of equal length. A lookup treats each token alone, so all tokens can be one row.
    const index = (name: string) => reshape(g, toNew(found(`${name} index`)), [1, -1], 'T')
    const table = (name: string) => toNew(found(`${name} table`))
    const typed = match(producedBy('Add', [typedWords, any('position')]), x, rewriting) !== undefined
    const inputs = [
      index('word'),
      typed ? index('type') : undefined,
      table('word'),
      table('position'),
      typed ? table('type') : undefined,
      toNew(weight),
      toNew(bias),
      undefined,
      index('position'),
    ]
    const [T, H] = output.shape as readonly [Dimension, Dimension]
    const y = g.node('EmbedLayerNormalization', inputs, { dtype: output.dtype, shape: [1, T, H] }, withEpsilon(node))
    // The second output of the operator is required.
    g.addOutputs(y, [{ name: `${y.name}_mask`, dtype: 'int32', shape: [1] }])
    return [reshape(g, y, [-1, H], T)]
  })

/** GELU with the bias of the dense layer before it. Kernels: CPU, CUDA. */
export const fuseGelu: Pass = (graph) =>
  rewrite(graph, (node, rewriting) => {
    const [x] = node.inputs
    if (node.operator !== 'Gelu' || !x) return undefined
    const { value, bias } = withoutBias(x, rewriting)
    if (bias === undefined) return undefined
    const operator = node.attributes.approximate === 'tanh' ? 'FastGelu' : 'BiasGelu'
    return [rewriting.g.node(operator, [value, bias], node.outputs[0], microsoft)]
  })
