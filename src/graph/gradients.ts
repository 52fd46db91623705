// Reverse-mode differentiation of a graph: a table with the gradient rule of each operator, and a loop over the nodes in
// reverse order. Gradients become nodes of the same graph. Only those that the wanted gradients need are added.

import type { Dimension, GraphBuilder, Node, Shape, Value } from './graph.js'
import {
  add,
  cast,
  div,
  erf,
  exp,
  expand,
  gather,
  gemm,
  matmul,
  mul,
  padZeros,
  reduceSum,
  reshape,
  rotaryEmbedding,
  scale,
  scatterAdd,
  scatterElementsAdd,
  sigmoid,
  sign,
  slice,
  sliceFrom,
  softmax,
  sub,
  swapLast,
  transpose,
  transposedConvolution,
} from './operators.js'

/**
 * The gradient of a gather as a lookup, instead of a sum. This is valid only if the positions that carry a gradient use
 * every entry of the table exactly once.
 */
export interface Inverse {
  /** For each entry of the table, the position in the flattened index that uses it. */
  readonly index: Value
  /** 1 if a table entry is used, 0 if not; broadcasts to the entries that are looked up. Absent: all are used. */
  readonly used?: Value
}

/** The inverses of gather indices, by index. */
export type Inverses = ReadonlyMap<Value, Inverse>

/**
 * Adds the gradients of a scalar to the graph that computes it.
 * @param loss a float32 value of shape []
 * @param wanted the values by which the loss is differentiated
 * @returns the gradient of each wanted value, of the same shape
 * @throws Error if the loss does not depend on a wanted value, or an operator between them has no rule
 */
export function gradients(
  g: GraphBuilder,
  loss: Value,
  wanted: readonly Value[],
  inverses: Inverses = new Map(),
): readonly Value[] {
  const nodes = [...g.nodes]
  const dependent = new Set<Value>(wanted)
  for (const node of nodes)
    if (node.inputs.some((input) => input && dependent.has(input)))
      for (const y of node.outputs) if (y) dependent.add(y)

  const found = new Map<Value, Value>([[loss, g.scalar(1)]])
  for (const node of nodes.toReversed()) {
    const y = node.outputs[0]
    const dy = found.get(y)
    if (dy === undefined || !node.inputs.some((input) => input && dependent.has(input))) continue
    const rule = rules[node.operator]
    if (rule === undefined) throw new Error(`${node.operator} has no gradient`)
    const toInputs = rule(g, { node, y, dy, x: (at) => present(node, at), inverses })
    for (const [at, input] of node.inputs.entries()) {
      if (input === undefined || !dependent.has(input)) continue
      const toInput = toInputs[at]
      if (toInput === undefined) throw new Error(`${node.operator} has no gradient for its input ${at}`)
      const dx = toInput()
      const sum = found.get(input)
      found.set(input, sum === undefined ? dx : add(g, sum, dx))
    }
  }
  return wanted.map((value) => {
    const gradient = found.get(value)
    if (gradient === undefined) throw new Error(`the loss does not depend on "${value.name}"`)
    return gradient
  })
}

interface RuleContext {
  readonly node: Node
  readonly x: (at: number) => Value
  readonly y: Value
  readonly dy: Value
  readonly inverses: Inverses
}

/** Returns one function for each input, in order. It adds the gradient of that input and is called only if needed. */
type Rule = (g: GraphBuilder, context: RuleContext) => readonly (() => Value)[]

const rules: Readonly<Record<string, Rule>> = {
  Identity: (_, { dy }) => [() => dy],
  Cast: (g, { x, dy }) => [() => cast(g, dy, x(0).dtype)],

  Add: (g, { x, dy }) => [() => sumTo(g, dy, x(0).shape), () => sumTo(g, dy, x(1).shape)],
  Sub: (g, { x, dy }) => [() => sumTo(g, dy, x(0).shape), () => sumTo(g, scale(g, dy, -1), x(1).shape)],
  Mul: (g, { x, dy }) => [() => sumTo(g, mul(g, dy, x(1)), x(0).shape), () => sumTo(g, mul(g, dy, x(0)), x(1).shape)],
  Div: (g, { x, y, dy }) => [
    () => sumTo(g, div(g, dy, x(1)), x(0).shape),
    () => sumTo(g, scale(g, div(g, mul(g, dy, y), x(1)), -1), x(1).shape),
  ],

  Exp: (g, { y, dy }) => [() => mul(g, dy, y)],
  Sqrt: (g, { y, dy }) => [() => scale(g, div(g, dy, y), 0.5)],
  Relu: (g, { y, dy }) => [() => mul(g, dy, sign(g, y))],
  Tanh: (g, { y, dy }) => [() => mul(g, dy, sub(g, g.scalar(1), mul(g, y, y)))],
  Sigmoid: (g, { y, dy }) => [() => mul(g, dy, mul(g, y, sub(g, g.scalar(1), y)))],
  Softplus: (g, { x, dy }) => [() => mul(g, dy, sigmoid(g, x(0)))],
  Gelu: (g, { node, x, dy }) => [
    () => mul(g, dy, node.attributes.approximate === 'tanh' ? geluTanhSlope(g, x(0)) : geluSlope(g, x(0))),
  ],

  // dx = y ⊙ (dy − Σ dy ⊙ y)
  Softmax: (g, { y, dy }) => [() => mul(g, y, sub(g, dy, sumLast(g, mul(g, dy, y))))],
  LogSoftmax: (g, { x, dy }) => [() => sub(g, dy, mul(g, softmax(g, x(0)), sumLast(g, dy)))],
  LayerNormalization: layerNormRule,
  // The gradient of a rotation is the rotation back.
  RotaryEmbedding: (g, { x, dy }) => [() => rotaryEmbedding(g, dy, x(2), scale(g, x(3), -1))],

  Gemm: (g, { node, x, dy }) => {
    const { transA = 0, transB = 0 } = node.attributes
    if (transA !== 0 || transB !== 1) throw new Error('Gemm has a gradient only for x · weightᵀ')
    return [() => gemm(g, dy, x(1)), () => gemm(g, dy, x(0), { transA: 1 }), () => sumTo(g, dy, x(2).shape)]
  },
  MatMul: (g, { x, dy }) => [
    () => sumTo(g, matmul(g, dy, swapLast(g, x(1))), x(0).shape),
    () => sumTo(g, matmul(g, swapLast(g, x(0)), dy), x(1).shape),
  ],

  Transpose: (g, { node, dy }) => {
    const order = node.attributes.perm as readonly number[]
    return [
      () =>
        transpose(
          g,
          dy,
          order.map((_, axis) => order.indexOf(axis)),
        ),
    ]
  },
  Reshape: (g, { x, dy }) => [() => reshape(g, dy, x(0).shape)],
  Expand: (g, { x, dy }) => [() => sumTo(g, dy, x(0).shape)],
  ReduceSum: (g, { x, dy }) => {
    const axes = g.integersOf(x(1))
    return [() => expand(g, reshape(g, dy, keptShape(x(0), axes)), x(0).shape)]
  },
  // An element that is not the largest has no gradient. The sign of its distance from the largest tells it.
  ReduceMax: (g, { x, y, dy }) => {
    const kept = keptShape(x(0), g.integersOf(x(1)))
    return [
      () => {
        const isSmaller = sign(g, sub(g, reshape(g, y, kept), x(0)))
        return mul(g, reshape(g, dy, kept), sub(g, g.scalar(1), isSmaller))
      },
    ]
  },
  // Only the last part may have an unknown size, because the sizes before it give the start of each part.
  Concat: (g, { node, x, dy }) => {
    const { axis } = node.attributes as { axis: number }
    let end = 0
    return node.inputs.map((_, at) => {
      const length = x(at).shape[axis] as Dimension
      const start = end
      if (typeof length === 'number') end += length
      else if (at < node.inputs.length - 1)
        throw new Error('Concat has a gradient only if the sizes of all parts but the last are known')
      const to = end
      return () => (typeof length === 'number' ? slice(g, dy, axis, start, to) : sliceFrom(g, dy, axis, start, length))
    })
  },
  Slice: (g, { x, dy }) => {
    const [start = 0] = g.integersOf(x(1))
    const [end = 0] = g.integersOf(x(2))
    const [axis = 0] = g.integersOf(x(3))
    return [() => padZeros(g, dy, axis, start, (x(0).shape[axis] as number) - end)]
  },
  Gather: (g, { node, x, dy, inverses }) => {
    if (node.attributes.axis !== 0) throw new Error('Gather has a gradient only along axis 0')
    const [table, index] = [x(0), x(1)]
    const entries = reshape(g, dy, [-1, ...table.shape.slice(1)])
    const inverse = inverses.get(index)
    return [() => (inverse ? lookUp(g, entries, inverse, table.shape) : scatterAdd(g, table.shape, index, entries))]
  },
  GatherElements: (g, { node, x, dy }) => [() => scatterElementsAdd(g, x(0), x(1), dy, node.attributes.axis as number)],
  // Weights of backbones are frozen, so only the input has a gradient.
  Conv: (g, { node, x, dy }) => [() => transposedConvolution(g, dy, x(1), x(0), node.attributes.group as number)],
}

/** The shape of a reduction of x that keeps the reduced axes. */
const keptShape = ({ shape }: Value, axes: readonly number[]): Shape =>
  shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim))

function present(node: Node, at: number): Value {
  const value = node.inputs[at]
  if (value === undefined) throw new Error(`${node.operator} has no input ${at}`)
  return value
}

function lookUp(g: GraphBuilder, entries: Value, { index, used }: Inverse, shape: Shape): Value {
  const found = gather(g, entries, index)
  return reshape(g, used ? mul(g, found, used) : found, shape)
}

/** Undoes a broadcast: sums x over the axes along which a value of `shape` was repeated. */
function sumTo(g: GraphBuilder, x: Value, shape: Shape): Value {
  const leading = x.shape.length - shape.length
  const axes = x.shape.flatMap((dim, axis) => {
    const own = shape[axis - leading]
    return own === undefined || (own === 1 && dim !== 1) ? [axis] : []
  })
  return axes.length === 0 ? x : reshape(g, reduceSum(g, x, axes, true), shape)
}

const sumLast = (g: GraphBuilder, x: Value): Value => reduceSum(g, x, [x.shape.length - 1], true)

/** The derivative of GELU: Φ(x) + x·φ(x) = ½ + ½·erf(s) + s·exp(−s²)/√π with s = x/√2. */
function geluSlope(g: GraphBuilder, x: Value): Value {
  const s = scale(g, x, Math.SQRT1_2)
  const density = mul(g, exp(g, mul(g, s, scale(g, s, -1))), scale(g, s, 1 / Math.sqrt(Math.PI)))
  return add(g, add(g, scale(g, erf(g, s), 0.5), g.scalar(0.5)), density)
}

/** The derivative of ½x(1 + t) with t = tanh(u) and u = c(x + ax³): ½(1 + t) + ½x(1 − t²)·c(1 + 3ax²). */
function geluTanhSlope(g: GraphBuilder, x: Value): Value {
  const c = Math.sqrt(2 / Math.PI)
  const a = 0.044715
  const square = mul(g, x, x)
  const u = mul(g, x, add(g, scale(g, square, c * a), g.scalar(c)))
  const t = g.node('Tanh', [u], u)
  const inner = mul(g, x, add(g, scale(g, square, 3 * c * a), g.scalar(c)))
  const curved = mul(g, sub(g, g.scalar(1), mul(g, t, t)), inner)
  return scale(g, add(g, add(g, t, g.scalar(1)), curved), 0.5)
}

/**
 * y = n ⊙ w + b with n = (x − mean) · inverse deviation, over the last axis of size H. The mean and the inverse deviation
 * of the forward pass are optional outputs of the operator.
 * dx = (dy ⊙ w − ⟨dy, w⟩/H − n · ⟨dy ⊙ n, w⟩/H) · inverse deviation
 */
function layerNormRule(g: GraphBuilder, { x, y, dy }: RuleContext): readonly (() => Value)[] {
  const [input, w] = [x(0), x(1)]
  const H = input.shape.at(-1) as number
  const statistic = (name: string) => ({
    name: `${y.name}_${name}`,
    dtype: input.dtype,
    shape: [...input.shape.slice(0, -1), 1],
  })
  const [mean, inverse] = g.addOutputs(y, [statistic('mean'), statistic('inverse_deviation')])
  if (mean === undefined || inverse === undefined)
    throw new Error('LayerNormalization has no outputs for its statistics')
  const n = mul(g, sub(g, input, mean), inverse)
  const dyn = mul(g, dy, n)
  const share = scale(g, reshape(g, w, [H, 1]), 1 / H)
  return [
    () => {
      const centred = sub(g, mul(g, dy, w), matmul(g, dy, share))
      return mul(g, sub(g, centred, mul(g, n, matmul(g, dyn, share))), inverse)
    },
    () => sumTo(g, dyn, w.shape),
    () => sumTo(g, dy, x(2).shape),
  ]
}
