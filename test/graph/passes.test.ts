// A graph computes the same before and after the passes, for every family and kind of module, on the CPU. Operators that
// have kernels only on CUDA are expanded to standard operators by their specification (onnxruntime's ContribOperators.md).

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import { keyBiasName } from '../../src/backbones/encoder.js'
import { floatsOf } from '../../src/backbones/weights.js'
import type { Dimension, Graph, GraphBuilder, Node, Value } from '../../src/graph/graph.js'
import { serializeOnnx } from '../../src/graph/onnx.js'
import { add, cast, matmul, mul, reshape, scale, slice, softmax, sub, transpose } from '../../src/graph/operators.js'
import { fuseAttention, packAttention, padByOffset } from '../../src/graph/passes/attention.js'
import { type ChannelRanges, denseInputs, rangeName, withChannelRanges } from '../../src/graph/passes/dense-inputs.js'
import { fuseEmbeddings, fuseGelu, fuseNorms, fuseTransposedProducts } from '../../src/graph/passes/fuse.js'
import { toFloat16 } from '../../src/graph/passes/half.js'
import { quantizeDense } from '../../src/graph/passes/quantize.js'
import { applyAll, type Pass, rewrite } from '../../src/graph/passes/rewrite.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { Problem } from '../../src/problem.js'
import { feedsFor } from '../../src/runtime/feeds.js'
import { float16Passes } from '../../src/runtime/numerics/float16.js'
import { packRows, type TokenRow } from '../../src/runtime/packed-rows.js'
import {
  type GraphScope,
  type GraphTraits,
  hasModuleName,
  poolWeightsName,
  servingGraph,
} from '../../src/runtime/serving-graph.js'
import { directoryOf, prototypeFor, tinyBackbones, tinyModules, tinyRows } from '../backbones/tiny.js'
import { distance } from '../material.js'

const wordsTraits: GraphTraits = { bank: 'uint16', gatherHalf: true }
const bytesTraits: GraphTraits = { bank: 'uint8', gatherHalf: false }
const usualScope: GraphScope = { bareRows: false, hidden: false }

/** The first and the last row have the same mask. */
const slots = [0, 1, 1, 0]

async function outputsOf(
  graph: Graph,
  backbone: Backbone,
  prototype: Prototype | undefined,
  texts: readonly TokenRow[],
) {
  const session = await InferenceSession.create(serializeOnnx(graph), {
    executionProviders: ['cpu'],
    logSeverityLevel: 4,
    extra: { session: { model_external_initializers_file_folder_path: backbone.weightsFolder } },
  })
  const { layers = 0, maskBytes = 0 } = prototype ?? {}
  const bytes = Uint8Array.from({ length: 2 * layers * maskBytes }, (_, i) => (i * 167 + (i >> 3) * 29 + 11) & 255)
  const shape = [2, layers, maskBytes]
  const hasByteBank = graph.inputs.some(({ name, dtype }) => name === 'bank' && dtype === 'uint8')
  const bank = {
    bank: hasByteBank ? new Tensor('uint8', bytes, shape) : new Tensor('uint16', Uint16Array.from(bytes), shape),
    row_slots: new Tensor('int32', Int32Array.from(slots), [slots.length]),
  }
  const outputs = await session.run(feedsFor(session, packRows(texts), bank))
  await session.release()
  return outputs
}

async function run(graph: Graph, ...model: [Backbone, Prototype | undefined, readonly TokenRow[]]) {
  const outputs = await outputsOf(graph, ...model)
  return graph.outputs.flatMap(({ name }) => {
    const data = outputs[name]?.data
    assert.ok(data instanceof Float32Array)
    return Array.from(data)
  })
}

/** ‖a − b‖ / ‖b‖ */
const relative = (a: readonly number[], b: readonly number[]) => {
  const length = (values: readonly number[]) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
  return length(a.map((value, i) => value - (b[i] ?? Number.NaN))) / length(b)
}

const operatorsOf = ({ nodes }: Graph) => new Set(nodes.map(({ operator }) => operator))

const countOf = ({ nodes }: Graph, ...operators: readonly string[]) =>
  nodes.filter(({ operator }) => operators.includes(operator)).length

const producerIn =
  ({ nodes }: Graph) =>
  (value: Value | undefined) =>
    nodes.find(({ outputs }) => outputs[0] === value)

/** Whether a sum is normalised, or GELU follows a bias, in operators of their own. */
function isLeftToFuse(graph: Graph): boolean {
  const producer = producerIn(graph)
  return graph.nodes.some(({ operator, inputs: [x] }) => {
    const before = producer(x)
    if (operator === 'LayerNormalization') return before?.operator === 'Add'
    return operator === 'Gelu' && before?.operator === 'Gemm' && before.inputs.length === 3
  })
}

/** Layers whose attention has only the bias of padding. */
function countPackable(graph: Graph): number {
  const producer = producerIn(graph)
  return graph.nodes.filter(({ operator, inputs: [scores] }) => {
    return operator === 'Softmax' && producer(scores)?.inputs[1]?.name === keyBiasName
  }).length
}

/** Expands operators that have no CPU kernel to standard operators. */
const expandOperators: Pass = (graph) =>
  rewrite(graph, (node, { g, toNew }) => {
    const inputs = node.inputs.map((input) => input && toNew(input))
    if (node.operator === 'RestorePadding') return [restorePadding(g, inputs)]
    if (node.operator === 'PackedMultiHeadAttention') {
      const [query, key, value] = [present(inputs, 0), present(inputs, 1), present(inputs, 2)]
      return [packedAttention(g, [query, key, value], present(inputs, 5), node)]
    }
    if (node.operator === 'PackedAttention') {
      const projected = add(g, matmul(g, present(inputs, 0), present(inputs, 1)), present(inputs, 2))
      const [, H] = node.outputs[0].shape as readonly [Dimension, number]
      const parts = [0, 1, 2].map((at) => slice(g, projected, 1, at * H, (at + 1) * H))
      return [packedAttention(g, parts, present(inputs, 4), node)]
    }
    return undefined
  })

type Inputs = readonly (Value | undefined)[]

const present = (inputs: Inputs, at: number): Value => inputs[at] ?? assert.fail(`there is no input ${at}`)

/** The first positions in `token_offset` are those of the tokens. The others stay zero. */
function restorePadding(g: GraphBuilder, inputs: Inputs): Value {
  const [x, offset] = [present(inputs, 0), present(inputs, 1)]
  const [, H] = x.shape as readonly Dimension[]
  const places = reshape(g, offset, [-1], 'B·S')
  const nothing = scale(g, cast(g, reshape(g, places, [-1, 1]), 'float32'), 0)
  const zeros = mul(g, nothing, g.constant(`ones_${g.nodes.length}`, 'float32', [1, H as number], onesOf(H as number)))
  const tokens = g.node('Shape', [x], { dtype: 'int64', shape: [1] }, { attributes: { start: 0, end: 1 } })
  const start = g.integers([0])
  const first = g.node('Slice', [places, start, tokens, start], { dtype: 'int32', shape: ['T'] })
  const index = reshape(g, cast(g, first, 'int64'), [-1, 1], 'T')
  const filled = g.node('ScatterND', [zeros, index, x], { dtype: x.dtype, shape: ['B·S', H as number] })
  const size = g.node('Shape', [offset], { dtype: 'int64', shape: [2] })
  const padded = g.node(
    'Concat',
    [size, g.integers([H as number])],
    { dtype: 'int64', shape: [3] },
    { attributes: { axis: 0 } },
  )
  return g.node('Reshape', [filled, padded], { dtype: x.dtype, shape: ['B', 'S', H as number] })
}

const onesOf = (count: number) => new Uint8Array(new Float32Array(count).fill(1).buffer)

/** A token attends to the tokens of its row: those before which the same number of rows has ended. */
function packedAttention(g: GraphBuilder, parts: readonly Value[], lengths: Value, node: Node): Value {
  const heads = node.attributes.num_heads as number
  const [, H] = node.outputs[0].shape as readonly [Dimension, number]
  const d = H / heads
  const byHead = (at: number, order: readonly number[]) =>
    transpose(g, reshape(g, present(parts, at), ['T', heads, d]), order)
  const [q, k, v] = [byHead(0, [1, 0, 2]), byHead(1, [1, 2, 0]), byHead(2, [1, 0, 2])]
  const ends = reshape(g, cast(g, lengths, 'float32'), [1, -1], 'B+1')
  // The index of each token: the cumulative sum of ones, minus 1.
  const one = g.node(
    'ReduceMax',
    [scale(g, q, 0), g.integers([0, 2])],
    { dtype: 'float32', shape: ['T'] },
    { attributes: { keepdims: 0 } },
  )
  const ones = add(g, one, g.scalar(1))
  const axis = g.constant(`axis_${g.nodes.length}`, 'int64', [], new Uint8Array(8))
  const numbers = sub(g, g.node('CumSum', [ones, axis], ones), g.scalar(1))
  const before = g.node('LessOrEqual', [ends, reshape(g, numbers, [-1, 1], 'T')], {
    dtype: 'bool',
    shape: ['T', 'B+1'],
  })
  const row = g.node('ReduceSum', [cast(g, before, 'float32'), g.integers([1])], { dtype: 'float32', shape: ['T', 1] })
  const apart = sub(g, row, transpose(g, row, [1, 0]))
  const bias = scale(g, mul(g, apart, apart), -10_000)
  const { float } = node.attributes.scale as { readonly float: number }
  const weights = softmax(g, add(g, scale(g, matmul(g, q, k), float), bias))
  return reshape(g, transpose(g, matmul(g, weights, v), [1, 0, 2]), ['T', H])
}

for (const name of tinyBackbones)
  for (const module of tinyModules)
    describe(`a tiny ${name} with ${module ? `${module.kind} ${JSON.stringify(module)}` : 'no module'}`, async () => {
      const backbone = await readBackbone(directoryOf(name))
      const prototype = module && prototypeFor(backbone, module)
      const texts = tinyRows(name)
      const reason = refusal(backbone, prototype)
      if (reason) {
        test('rejects the module by its name', () => assert.match(reason, new RegExp(`${module?.kind} does not fit`)))
        return
      }
      const expected = await run(servingGraph(backbone, prototype, wordsTraits), backbone, prototype, texts)

      test('computes the same with fused operators', async () => {
        const passes = [fuseAttention, fuseTransposedProducts, fuseEmbeddings, fuseNorms, fuseGelu]
        const fused = applyAll(servingGraph(backbone, prototype, wordsTraits), passes)
        const operators = operatorsOf(fused)
        assert.ok(operators.has('MultiHeadAttention') && !operators.has('Softmax'))
        assert.ok(operators.has('SkipLayerNormalization') && !isLeftToFuse(fused))
        assert.ok(distance(await run(fused, backbone, prototype, texts), expected) < 1e-5)
      })

      test('computes the same with masks that are unpacked once', async () => {
        const graph = servingGraph(backbone, prototype, bytesTraits)
        assert.ok(distance(await run(graph, backbone, prototype, texts), expected) < 1e-5)
      })

      test('computes the same vectors for batches without bare rows and hidden states', async () => {
        const passes = [fuseTransposedProducts, fuseNorms]
        const usual = applyAll(servingGraph(backbone, prototype, bytesTraits, usualScope), passes)
        assert.deepEqual(
          usual.outputs.map(({ name }) => name),
          ['pooled'],
        )
        const pooled = await run(usual, backbone, prototype, texts)
        assert.ok(distance(pooled, expected.slice(0, pooled.length)) < 1e-5)
      })

      if (module?.kind === 'adapter' && module.scaling === 1)
        test('adds the bias of an adapter in the normalisation that follows, if no row is bare', () => {
          const general = applyAll(servingGraph(backbone, prototype, bytesTraits), float16Passes)
          const usual = applyAll(servingGraph(backbone, prototype, bytesTraits, usualScope), float16Passes)
          assert.equal(countOf(general, 'Add') - countOf(usual, 'Add'), backbone.dims.layers)
          assert.ok(usual.inputs.every(({ name }) => name !== hasModuleName))
        })

      test('computes the same with packed attention, if only padding has a bias', async () => {
        const passes = [packAttention(keyBiasName), padByOffset]
        const graph = servingGraph(backbone, prototype, wordsTraits)
        const packed = applyAll(graph, passes)
        const packable = countPackable(graph)
        assert.equal(countOf(packed, 'PackedAttention', 'PackedMultiHeadAttention'), packable)
        assert.equal(countOf(packed, 'Softmax'), countOf(graph, 'Softmax') - packable)
        // One operator also computes query, key and value, unless something changes them.
        const isProjected = packable > 0 && module?.kind !== 'lora' && !operatorsOf(graph).has('RotaryEmbedding')
        assert.equal(operatorsOf(packed).has('PackedAttention'), isProjected)
        assert.ok(distance(await run(expandOperators(packed), backbone, prototype, texts), expected) < 1e-5)
      })

      test('computes nearly the same with dense layers in 8-bit integers', async () => {
        // Weights of 7 bits do not overflow on any processor.
        const graph = servingGraph(backbone, prototype, wordsTraits)
        const outputs = await outputsOf(withChannelRanges(graph), backbone, prototype, texts)
        const part = (name: keyof ChannelRanges, input: string) => outputs[rangeName(name, input)]?.data as Float32Array
        const ranges = new Map(
          Array.from(denseInputs(graph).keys(), ({ name }) => {
            return [name, { low: part('low', name), high: part('high', name), mean: part('mean', name) }] as const
          }),
        )
        const read = floatsOf(backbone.weightsFolder)
        const quantized = applyAll(graph, [quantizeDense({ largest: 63, read, ranges }), fuseTransposedProducts])
        assert.ok(operatorsOf(quantized).has('MatMulIntegerToFloat') && !operatorsOf(quantized).has('Gemm'))
        const error = relative(await run(quantized, backbone, prototype, texts), expected)
        assert.ok(error > 0 && error < 0.1, `the error is ${error}`)
      })

      test('computes nearly the same in half precision', async () => {
        const passes = [fuseTransposedProducts, fuseNorms, toFloat16(new Set([poolWeightsName]))]
        const half = applyAll(servingGraph(backbone, prototype, bytesTraits), passes)
        const error = relative(await run(half, backbone, prototype, texts), expected)
        assert.ok(error > 0 && error < 0.01, `the error is ${error}`)
      })

      test('has only operators with CUDA kernels in half precision on CUDA', () => {
        const graph = applyAll(servingGraph(backbone, prototype, bytesTraits), float16Passes)
        for (const { operator } of graph.nodes) assert.ok(onCuda.has(operator), operator)
        const constants = constantValues(graph)
        const floats = graph.nodes.filter(
          ({ outputs: [output] }) => output.dtype === 'float32' && !constants.has(output),
        )
        // Only pooling, and the nodes before the outputs.
        for (const { operator } of floats)
          assert.ok(['Cast', 'RestorePadding', 'Gather', 'MatMul', 'Reshape', 'Identity'].includes(operator), operator)
      })
    })

/** Why a module does not fit a family. Undefined if it does. */
function refusal(backbone: Backbone, prototype: Prototype | undefined): string | undefined {
  try {
    servingGraph(backbone, prototype, wordsTraits)
    return undefined
  } catch (error) {
    if (error instanceof Problem && error.code === 'invalid_prototype') return error.message
    throw error
  }
}

/** Values that depend on constants only. */
function constantValues({ nodes, constants }: Graph): ReadonlySet<Value> {
  const found = new Set(constants.map(({ value }) => value))
  for (const { inputs, outputs } of nodes)
    if (inputs.every((input) => !input || found.has(input))) for (const output of outputs) if (output) found.add(output)
  return found
}

/** Operators with float16 kernels on CUDA (onnxruntime's OperatorKernels.md). */
const onCuda = new Set([
  'Add',
  'BiasGelu',
  'Cast',
  'Concat',
  'EmbedLayerNormalization',
  'Expand',
  'FastGelu',
  'FusedMatMul',
  'Gather',
  'GatherElements',
  'Gelu',
  'Gemm',
  'Identity',
  'LayerNormalization',
  'MatMul',
  'Mul',
  'MultiHeadAttention',
  'Pad',
  'PackedAttention',
  'PackedMultiHeadAttention',
  'ReduceMax',
  'Relu',
  'Reshape',
  'RestorePadding',
  'RotaryEmbedding',
  'Sigmoid',
  'SkipLayerNormalization',
  'Slice',
  'Split',
  'Sub',
  'Tanh',
  'Transpose',
])
