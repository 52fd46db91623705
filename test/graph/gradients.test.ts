// Compares each rule of the gradient table with central differences of the same graph, both run by onnxruntime.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { attention } from '../../src/backbones/layers/attention.js'
import { windowBias } from '../../src/backbones/layers/local-window.js'
import { rotaryFrequencies, rotation } from '../../src/backbones/layers/rotary.js'
import { gradients, type Inverses } from '../../src/graph/gradients.js'
import { GraphBuilder, type Shape, type Value } from '../../src/graph/graph.js'
import * as op from '../../src/graph/operators.js'
import { packingInverses } from '../../src/graph/packing.js'
import { GraphSession, type NumberArray } from '../../src/runtime/graph-session.js'

type Inputs = Readonly<Record<string, Shape>>
type Make = (g: GraphBuilder, x: (name: string) => Value) => Value

/** Distinct numbers of both signs, away from the kink of relu. */
const numbers = (count: number, seed: number): Float32Array =>
  Float32Array.from({ length: count }, (_, i) => {
    const value = 1.3 * Math.sin(1.7 * i + 2.3 * seed + 0.4)
    return Math.abs(value) < 0.08 ? value + 0.2 : value
  })

const size = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1)

/** Σ weights ⊙ value: a loss with a different gradient for every element of the value. */
function weigh(g: GraphBuilder, value: Value): Value {
  const weights = g.input('loss.weights', 'float32', value.shape)
  return op.reduceSum(g, op.mul(g, value, weights), [...value.shape.keys()])
}

/**
 * Compares the gradients of all `inputs` with central differences.
 */
async function check(
  inputs: Inputs,
  make: Make,
  { fixed = {}, sizes = {}, draw = (x) => x, inversesOf }: CheckOptions = {},
): Promise<void> {
  const g = new GraphBuilder()
  const values = new Map<string, Value>()
  for (const [name, array] of Object.entries(fixed)) {
    const dtype = array.data instanceof Float32Array ? 'float32' : 'int32'
    values.set(name, g.input(name, dtype, array.symbolic ?? array.shape))
  }
  const wanted = Object.entries(inputs).map(([name, shape]) => {
    const value = g.input(name, 'float32', shape)
    values.set(name, value)
    return value
  })
  const loss = weigh(
    g,
    make(g, (name) => {
      const value = values.get(name)
      assert.ok(value, `no input ${name}`)
      return value
    }),
  )
  const found = gradients(g, loss, wanted, inversesOf?.(values))
  const outputs = wanted.map(({ name }, i) => g.output(`${name}.grad`, found[i] ?? assert.fail()))
  const session = await GraphSession.open(g.build([g.output('loss', loss), ...outputs]), { threads: 1 })
  const concrete = (shape: Shape) => shape.map((dim) => (typeof dim === 'number' ? dim : (sizes[dim] ?? assert.fail())))
  const feeds: Record<string, NumberArray> = {}
  for (const [name, { shape, data }] of Object.entries(fixed)) feeds[name] = { shape, data }
  for (const [at, value] of g.inputs.entries()) {
    if (feeds[value.name]) continue
    const shape = concrete(value.shape)
    feeds[value.name] = { shape, data: numbers(size(shape), at).map(draw) }
  }
  const at = async (changed: Record<string, NumberArray>) => session.run({ ...feeds, ...changed })
  const exact = await at({})
  for (const { name } of wanted) {
    const { shape, data } = feeds[name] ?? assert.fail()
    const gradient = exact.get(`${name}.grad`) ?? assert.fail()
    assert.equal(gradient.length, data.length)
    const step = 2 ** -6
    const estimate = new Float32Array(data.length)
    for (let i = 0; i < data.length; i++) {
      const moved = async (by: number) => {
        const copy = Float32Array.from(data)
        copy[i] = (copy[i] ?? 0) + by
        return (await at({ [name]: { shape, data: copy } })).get('loss')?.[0] ?? Number.NaN
      }
      // Five points have an error of fourth order, so the step can be large compared with the precision of float32.
      const near = (await moved(step)) - (await moved(-step))
      const far = (await moved(2 * step)) - (await moved(-2 * step))
      estimate[i] = (8 * near - far) / (12 * step)
    }
    const error = norm(estimate.map((value, i) => value - (gradient[i] ?? Number.NaN)))
    assert.ok(error <= 2e-3 * Math.max(norm(estimate), 0.1), `${name}: gradient ${gradient}, differences ${estimate}`)
  }
  await session.release()
}

interface CheckOptions {
  /** Inputs by which the loss is not differentiated. */
  readonly fixed?: Readonly<Record<string, NumberArray & { readonly symbolic?: Shape }>>
  /** Sizes of the named dimensions. */
  readonly sizes?: Readonly<Record<string, number>>
  /** Applied to every number of the inputs. */
  readonly draw?: (x: number) => number
  readonly inversesOf?: (values: ReadonlyMap<string, Value>) => Inverses
}

const norm = (values: Float32Array) => Math.hypot(...values)

const unary: Record<string, (g: GraphBuilder, x: Value) => Value> = {
  Exp: op.exp,
  Relu: op.relu,
  Tanh: op.tanh,
  Sigmoid: op.sigmoid,
  Softplus: op.softplus,
  'Gelu by erf': op.gelu,
  'Gelu by tanh': op.geluTanh,
  Silu: op.silu,
  Softmax: op.softmax,
  LogSoftmax: op.logSoftmax,
}
for (const [name, operator] of Object.entries(unary))
  test(`gradient of ${name}`, () => check({ x: [3, 5] }, (g, x) => operator(g, x('x'))))

const binary = { Add: op.add, Sub: op.sub, Mul: op.mul }
for (const [name, operator] of Object.entries(binary)) {
  test(`gradient of ${name}`, () => check({ a: [2, 3], b: [2, 3] }, (g, x) => operator(g, x('a'), x('b'))))
  test(`gradient of ${name} where both sides broadcast`, () =>
    check({ a: [2, 1, 3], b: [4, 1] }, (g, x) => operator(g, x('a'), x('b'))))
}
test('gradient of Sqrt', () => check({ x: [3, 5] }, (g, x) => op.sqrt(g, x('x')), { draw: (x) => Math.abs(x) + 0.3 }))

test('gradient of Div where both sides broadcast', () =>
  check({ a: [2, 1, 3], b: [4, 1] }, (g, x) => op.div(g, x('a'), x('b')), {
    draw: (x) => Math.abs(x) + 0.3,
  }))

test('gradient of LayerNormalization by its input, weight and bias', () =>
  check({ x: [3, 6], w: [6], b: [6] }, (g, x) => op.layerNorm(g, x('x'), x('w'), x('b'), 1e-5)))

test('gradient of LayerNormalization without a bias by its input and weight', () =>
  check({ x: [3, 6], w: [6] }, (g, x) => op.layerNorm(g, x('x'), x('w'), undefined, 1e-5)))

test('gradient of Gemm with a transposed weight', () =>
  check({ x: [3, 4], w: [2, 4], b: [2] }, (g, x) => op.linear(g, x('x'), x('w'), x('b'))))
test('gradient of Gemm without a bias', () =>
  check({ x: [3, 4], w: [2, 4] }, (g, x) => op.gemm(g, x('x'), x('w'), { transB: 1 })))

test('gradient of RotaryEmbedding', () => {
  const angles = numbers(3 * 2, 5)
  const table = (of: (angle: number) => number) => ({ shape: [3, 2], data: angles.map(of) })
  return check({ x: [1, 3, 8] }, (g, x) => op.rotaryEmbedding(g, x('x'), x('cosines'), x('sines')), {
    fixed: { cosines: table(Math.cos), sines: table(Math.sin) },
  })
})

test('gradient of MatMul of batches', () =>
  check({ a: [2, 3, 4], b: [2, 4, 2] }, (g, x) => op.matmul(g, x('a'), x('b'))))
test('gradient of MatMul where a batch axis broadcasts', () =>
  check({ a: [2, 1, 3, 2], b: [3, 2, 2] }, (g, x) => op.matmul(g, x('a'), x('b'))))

test('gradient of Transpose', () => check({ x: [2, 3, 4] }, (g, x) => op.transpose(g, x('x'), [2, 0, 1])))
test('gradient of Reshape', () => check({ x: [2, 6] }, (g, x) => op.reshape(g, x('x'), [3, 4])))
test('gradient of Reshape with sizes that are known only at run time', () =>
  check({ x: ['B', 'S', 3] }, (g, x) => op.exp(g, op.reshape(g, x('x'), [-1, 3], 'B·S')), {
    sizes: { B: 2, S: 2, B·S: 4 },
  }))
test('gradient of Expand', () => check({ x: [2, 1] }, (g, x) => op.expand(g, x('x'), [3, 2, 4])))
// In these inputs no element is near the largest one of its row, so that the steps of the differences do not change it.
test('gradient of ReduceMax', async () => {
  await check({ x: [2, 3, 2] }, (g, x) => op.exp(g, op.reduceMax(g, x('x'), [1])))
  await check({ x: [2, 3] }, (g, x) => op.reduceMax(g, x('x'), [0]))
})
test('gradient of ReduceSum', () => check({ x: [2, 3, 4] }, (g, x) => op.exp(g, op.reduceSum(g, x('x'), [0, 2]))))
for (const axis of [1, 2])
  test(`gradient of GatherElements along axis ${axis}, where the index repeats elements`, () => {
    const index = Int32Array.of(0, 2, 1, 1, 1, 0, 2, 0, 0, 1, 2, 2, 1, 0, 0, 2, 1, 1)
    return check({ x: [2, 3, 3] }, (g, x) => op.gatherElements(g, op.exp(g, x('x')), x('index'), axis), {
      fixed: { index: { shape: [2, 3, 3], data: index } },
    })
  })
for (const groups of [1, 2])
  test(`gradient of Conv by its input, with ${groups} group(s)`, () =>
    check({ x: [2, 4, 5] }, (g, x) => op.convolution(g, x('x'), x('w'), x('b'), groups), {
      fixed: {
        w: { shape: [6, 4 / groups, 3], data: numbers((6 * 4 * 3) / groups, 7) },
        b: { shape: [6], data: numbers(6, 8) },
      },
    }))
test('gradient of Slice', () => check({ x: [2, 5] }, (g, x) => op.slice(g, x('x'), 1, 1, 4)))
test('gradient of Concat', () =>
  check({ a: [2, 1, 3], b: [2, 2, 3] }, (g, x) => op.exp(g, op.concat(g, [x('a'), x('b')], 1, 'both'))))
test('gradient of Concat whose last part has a size that is known only at run time', () =>
  check({ a: [2, 1, 3], b: [2, 'S', 3] }, (g, x) => op.exp(g, op.concat(g, [x('a'), x('b')], 1, 'both')), {
    sizes: { S: 2, both: 3 },
  }))
test('gradient of Cast and Identity', () =>
  // Multiples of 1/16, also after the steps of the differences, are exact in float16.
  check({ x: [2, 3] }, (g, x) => g.output('named', op.cast(g, op.cast(g, x('x'), 'float16'), 'float32')), {
    draw: (x) => Math.round(16 * x) / 16,
  }))

test('gradient of Gather, with entries that are used twice and entries that are not used', () =>
  check({ table: [4, 3] }, (g, x) => op.gather(g, x('table'), x('index')), {
    fixed: { index: { shape: [2, 2], data: Int32Array.of(3, 0, 3, 1) } },
  }))

test('the gradient of a value that is used twice is the sum of both gradients', () =>
  check({ x: [2, 3] }, (g, x) => op.mul(g, op.exp(g, x('x')), op.tanh(g, x('x')))))

// Rows of 3 and 1 tokens. The differences do not use the inverses of packing, so they check these too.
function checkAttention(prefix: Inputs, isLocal = false) {
  const fixed = {
    padded_index: { shape: [2, 3], symbolic: ['B', 'S'], data: Int32Array.of(0, 1, 2, 3, 3, 3) },
    packed_index: { shape: [4], symbolic: ['T'], data: Int32Array.of(0, 1, 2, 3) },
    key_bias: { shape: [2, 1, 1, 3], symbolic: ['B', 1, 1, 'S'], data: Float32Array.of(0, 0, 0, 0, -1e4, -1e4) },
    ...(isLocal && { position_ids: { shape: [4], symbolic: ['T'], data: Int32Array.of(0, 1, 2, 0) } }),
    present: { shape: [2, 3, 1], symbolic: ['B', 'S', 1], data: Float32Array.of(1, 1, 1, 1, 0, 0) },
  }
  const packing = (x: (name: string) => Value) => ({ paddedIndex: x('padded_index'), packedIndex: x('packed_index') })
  const get = (values: ReadonlyMap<string, Value>) => (name: string) => values.get(name) ?? assert.fail()
  return check(
    { query: ['T', 4], key: ['T', 4], value: ['T', 4], ...prefix },
    (g, x) => {
      const local = () => ({
        bias: op.add(g, windowBias(g, 1, x('position_ids'), packing(x), 3), x('key_bias')),
        rotation: rotation(g, 'rotary', rotaryFrequencies(10, 2), x('position_ids'), 3),
      })
      return attention(
        g,
        { query: x('query'), key: x('key'), value: x('value') },
        {
          heads: 2,
          bias: x('key_bias'),
          packing: packing(x),
          ...(isLocal && local()),
          ...(prefix.keys && { prefix: { keys: x('keys'), values: x('values') } }),
        },
      )
    },
    {
      fixed,
      sizes: { T: 4, B: 2 },
      inversesOf: (values) => packingInverses(packing(get(values)), get(values)('present')),
    },
  )
}
test('gradient of attention over packed rows of different lengths', () => checkAttention({}))
test('gradient of attention with a prefix', () => checkAttention({ keys: ['B', 2, 4], values: ['B', 2, 4] }))
test('gradient of local attention with rotary positions', () => checkAttention({}, true))
test('gradient of local attention with rotary positions and a prefix', () =>
  checkAttention({ keys: ['B', 2, 4], values: ['B', 2, 4] }, true))

test('throws for a value that the loss does not depend on', () => {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', [2])
  const other = g.input('other', 'float32', [2])
  assert.throws(() => gradients(g, weigh(g, x), [other]), /does not depend on "other"/)
})

test('throws with the name of an operator without a rule, unless no wanted value needs it', () => {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', [2])
  const y = g.node('Floor', [x], x)
  assert.throws(() => gradients(g, weigh(g, y), [x]), /Floor has no gradient/)
  const z = g.input('z', 'float32', [2])
  gradients(g, op.reduceSum(g, op.mul(g, y, z), [0]), [z])
})

test('adds no gradient nodes for values before the wanted ones', () => {
  const g = new GraphBuilder()
  const frozen = g.input('frozen', 'float32', [3, 4])
  const w = g.input('w', 'float32', [2, 4])
  const below = op.exp(g, op.tanh(g, frozen))
  const loss = weigh(g, op.matmul(g, below, op.transpose(g, w, [1, 0])))
  const before = g.nodes.length
  gradients(g, loss, [w])
  const added = g.nodes.slice(before).map((node) => node.operator)
  assert.deepEqual(added.filter((operator) => operator === 'MatMul').length, 1)
  assert.ok(!added.includes('Exp') && !added.includes('Tanh'))
})
