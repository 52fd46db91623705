// Passes that replace attention from standard operators, as backbones/layers/attention.ts builds it, by onnxruntime's
// attention operators: softmax(q·kᵀ/√d + bias)·v.

import type { Dimension, GraphBuilder, Value, ValuesByName } from '../graph.js'
import { add, cast, concat, gather, reshape, sub, transpose } from '../operators.js'
import { paddedIndexName } from '../packing.js'
import { any, constant, constantOf, match, type Pattern, producedBy } from './pattern.js'
import { type Pass, type Rewriting, rewrite } from './rewrite.js'

const microsoft = 'com.microsoft'

const splitHeads = (x: Pattern, perm: readonly number[], name?: string): Pattern =>
  producedBy('Transpose', [producedBy('Reshape', [x], {}, name)], { perm })
const padded = (packed: Pattern): Pattern => producedBy('Gather', [packed, any('padded index')])
const query = producedBy('Mul', [any('query'), constant('scale')])

/** The output of all heads, [B,S,H]. */
const attended = (keys: Pattern, values: Pattern): Pattern => {
  const scores = producedBy('MatMul', [
    splitHeads(padded(query), [0, 2, 1, 3], 'split query'),
    splitHeads(keys, [0, 2, 3, 1]),
  ])
  const weights = producedBy('Softmax', [producedBy('Add', [scores, any('bias')])])
  const found = producedBy('MatMul', [weights, splitHeads(values, [0, 2, 1, 3])])
  return producedBy('Reshape', [producedBy('Transpose', [found], { perm: [0, 2, 1, 3] })])
}

const attentionToOwnRow = producedBy('Gather', [
  producedBy('Reshape', [attended(padded(any('key')), padded(any('value')))]),
  any('packed index'),
])
const attentionToAnyKeys = attended(any('keys'), any('values'))

const dense = (name: string): Pattern =>
  producedBy('Gemm', [any('x'), constant(`${name} weight`), constant(`${name} bias`)], { transB: 1 })

/**
 * Attention of packed tokens to the tokens of their row, without padding. If possible, one product computes query, key and
 * value. Kernels: CUDA, float32 and float16. They allow no bias except that of padding.
 *
 * Adds two inputs to the graph: `token_offset` int32 [B,S], the positions of all tokens in the padded rows and after them
 * the positions of padding; `cumulative_lengths` int32 [B+1], the number of tokens before each row.
 */
export const packAttention =
  (paddingBias: string): Pass =>
  (graph) =>
    rewrite(graph, (node, rewriting) => {
      const { g, toNew } = rewriting
      if (node.operator !== 'Gather') return undefined
      const found = match(attentionToOwnRow, node.outputs[0], rewriting)
      if (found === undefined || found('bias').name !== paddingBias) return undefined
      const heads = found('split query').shape[2] as number
      const layout = [tokenOffset(g), inputOf(g, 'cumulative_lengths', ['B+1'])]
      const options = { domain: microsoft, attributes: { num_heads: heads, scale: scaleOf(found, rewriting) } } as const
      const projected = projectedTogether(g, found, rewriting)
      if (projected) return [g.node('PackedAttention', [...projected, ...layout], node.outputs[0], options)]
      const parts = [toNew(found('query')), toNew(found('key')), toNew(found('value')), undefined]
      return [g.node('PackedMultiHeadAttention', [...parts, ...layout], node.outputs[0], options)]
    })

/**
 * If query, key and value are products of the same tokens x: x, the weights [I,3·H] and the biases [3·H] of all three, so
 * that the operator can compute them in one product.
 */
function projectedTogether(
  g: GraphBuilder,
  found: ValuesByName,
  rewriting: Rewriting,
): readonly [x: Value, weight: Value, bias: Value] | undefined {
  const [q, k, v] = (['query', 'key', 'value'] as const).map((part) => match(dense(part), found(part), rewriting))
  if (!q || !k || !v || q('x') !== k('x') || q('x') !== v('x')) return undefined
  const { toNew } = rewriting
  const together = (kind: 'weight' | 'bias') =>
    concat(g, [toNew(q(`query ${kind}`)), toNew(k(`key ${kind}`)), toNew(v(`value ${kind}`))], 0, '3·H')
  return [toNew(q('x')), transpose(g, together('weight'), [1, 0]), together('bias')]
}

/** Pads with zeros, by the input that packed attention uses too. Kernels: CUDA. */
export const padByOffset: Pass = (graph) =>
  rewrite(graph, (node, { g, toNew }) => {
    const [x, index] = node.inputs
    const { dtype, shape } = node.outputs[0]
    if (node.operator !== 'Gather' || index?.name !== paddedIndexName || x?.shape.length !== 2) return undefined
    return [g.node('RestorePadding', [toNew(x), tokenOffset(g)], { dtype, shape }, { domain: microsoft })]
  })

/** Attention of padded rows in one operator, with any bias and any keys. Kernels: CPU, CUDA. */
export const fuseAttention: Pass = (graph) =>
  rewrite(graph, (node, rewriting) => {
    const { g, toNew } = rewriting
    if (node.operator !== 'Reshape') return undefined
    const found = match(attentionToAnyKeys, node.outputs[0], rewriting)
    if (found === undefined) return undefined
    const index = toNew(found('padded index'))
    const bias = biasOfEachQuery(g, toNew(found('bias')), index)
    const queries = gather(g, toNew(found('query')), index)
    const inputs = [queries, toNew(found('keys')), toNew(found('values')), undefined, undefined, bias]
    const heads = found('split query').shape[2] as number
    const options = { domain: microsoft, attributes: { num_heads: heads, scale: scaleOf(found, rewriting) } } as const
    return [g.node('MultiHeadAttention', inputs, node.outputs[0], options)]
  })

/** The factor of the scores. */
function scaleOf(found: ValuesByName, rewriting: Rewriting): { readonly float: number } {
  const data = constantOf(found('scale'), rewriting)?.data
  if (!(data instanceof Uint8Array)) throw new Error('the scale of attention is not part of the graph')
  return { float: new DataView(data.buffer, data.byteOffset).getFloat32(0, true) }
}

/** Expands a bias that is the same for all queries, [B,1,1,K], to the operator's shape [B,1,S,K]. */
function biasOfEachQuery(g: GraphBuilder, bias: Value, paddedIndex: Value): Value {
  if (bias.shape[2] !== 1) return bias
  const zeros = reshape(g, sub(g, paddedIndex, paddedIndex), ['B', 1, 'S', 1])
  return add(g, bias, cast(g, zeros, bias.dtype))
}

const tokenOffset = (g: GraphBuilder): Value => inputOf(g, 'token_offset', ['B', 'S'])

const inputOf = (g: GraphBuilder, name: string, shape: readonly Dimension[]): Value =>
  g.inputs.find((input) => input.name === name) ?? g.input(name, 'int32', shape)
