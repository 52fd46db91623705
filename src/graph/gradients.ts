// Reverse mode over a graph: a table from operator to how its gradient goes to each input, and a loop over the nodes
// in reverse. Gradients become further nodes of the same graph; nothing is computed that no wanted value needs.

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
  scale,
  scatterAdd,
  sigmoid,
  sign,
  slice,
  sliceFrom,
  softmax,
  sub,
  swapLast,
  transpose,
} from './operators.js'

/**
 * How to undo a gather by looking up instead of adding up. It stands for the promise that every row of the table is
 * taken exactly once by the places that carry a gradient.
 */
export interface Inverse {
  /** For each row of the table the place that takes it, counted through the flattened index. */
  readonly index: Value
  /** 1 where a table row is taken, 0 where it is not; broadcast against the looked-up rows. Absent: all are. */
  readonly taken?: Value
}

/** Inverses of gather indices, by the index. */
export type Inverses = ReadonlyMap<Value, Inverse>

/**
 * Adds the gradients of a scalar to the graph that computes it.
 * @param loss a float32 value of shape []
 * @param wanted what to differentiate by
 * @returns for each wanted value its gradient, of the same shape
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

interface Call {
  readonly node: Node
  readonly x: (at: number) => Value
  readonly y: Value
  readonly dy: Value
  readonly inverses: Inverses
}

/** Gradients for the inputs in their order, each made only if it is asked for. */
type Rule = (g: GraphBuilder, call: Call) => readonly (() => Value)[]

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

  Gemm: (g, { node, x, dy }) => {
    const { transA = 0, transB = 0 } = node.attributes
    if (transA !== 0 || transB !== 1) throw new Error('Gemm has a gradient for x · weightᵀ alone')
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
    const kept = x(0).shape.map((dim, axis) => (axes.includes(axis) ? 1 : dim))
    return [() => expand(g, reshape(g, dy, kept), x(0).shape)]
  },
  // The last part may have any length; those before it must be known to say where each begins.
  Concat: (g, { node, x, dy }) => {
    const { axis } = node.attributes as { axis: number }
    let end = 0
    return node.inputs.map((_, at) => {
      const length = x(at).shape[axis] as Dimension
      const start = end
      if (typeof length === 'number') end += length
      else if (at < node.inputs.length - 1) throw new Error('Concat has a gradient where only its last part is open')
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
    if (node.attributes.axis !== 0) throw new Error('Gather has a gradient along axis 0 alone')
    const [table, index] = [x(0), x(1)]
    const rows = reshape(g, dy, [-1, ...table.shape.slice(1)])
    const inverse = inverses.get(index)
    return [() => (inverse ? lookUp(g, rows, inverse, table.shape) : scatterAdd(g, table.shape, index, rows))]
  },
}

function present(node: Node, at: number): Value {
  const value = node.inputs[at]
  if (value === undefined) throw new Error(`${node.operator} has no input ${at}`)
  return value
}

function lookUp(g: GraphBuilder, rows: Value, { index, taken }: Inverse, shape: Shape): Value {
  const found = gather(g, rows, index)
  return reshape(g, taken ? mul(g, found, taken) : found, shape)
}

/** Sum over the axes along which a value of `shape` was repeated to become as large as x. */
function sumTo(g: GraphBuilder, x: Value, shape: Shape): Value {
  const leading = x.shape.length - shape.length
  const axes = x.shape.flatMap((dim, axis) => {
    const own = shape[axis - leading]
    return own === undefined || (own === 1 && dim !== 1) ? [axis] : []
  })
  return axes.length === 0 ? x : reshape(g, reduceSum(g, x, axes, true), shape)
}

const sumLast = (g: GraphBuilder, x: Value): Value => reduceSum(g, x, [x.shape.length - 1], true)

/** Φ(x) + x·φ(x) = ½ + ½·erf(s) + s·exp(−s²)/√π with s = x/√2. */
function geluSlope(g: GraphBuilder, x: Value): Value {
  const s = scale(g, x, Math.SQRT1_2)
  const bell = mul(g, exp(g, mul(g, s, scale(g, s, -1))), scale(g, s, 1 / Math.sqrt(Math.PI)))
  return add(g, add(g, scale(g, erf(g, s), 0.5), g.scalar(0.5)), bell)
}

/** Of ½x(1 + t), t = tanh(u), u = c(x + ax³): ½(1 + t) + ½x(1 − t²)·c(1 + 3ax²). */
function geluTanhSlope(g: GraphBuilder, x: Value): Value {
  const c = Math.sqrt(2 / Math.PI)
  const a = 0.044715
  const square = mul(g, x, x)
  const u = mul(g, x, add(g, scale(g, square, c * a), g.scalar(c)))
  const t = g.node('Tanh', [u], u)
  const inner = mul(g, x, add(g, scale(g, square, 3 * c * a), g.scalar(c)))
  const bent = mul(g, sub(g, g.scalar(1), mul(g, t, t)), inner)
  return scale(g, add(g, add(g, t, g.scalar(1)), bent), 0.5)
}

/**
 * y = n ⊙ w + b with n = (x − mean) · inverse deviation, over the last axis of size H. The forward pass already knows
 * mean and inverse deviation: they are optional outputs of the operator.
 * dx = (dy ⊙ w − ⟨dy, w⟩/H − n · ⟨dy ⊙ n, w⟩/H) · inverse deviation
 */
function layerNormRule(g: GraphBuilder, { x, y, dy }: Call): readonly (() => Value)[] {
  const [input, w, b] = [x(0), x(1), x(2)]
  const H = input.shape.at(-1) as number
  const of = (name: string) => ({
    name: `${y.name}_${name}`,
    dtype: input.dtype,
    shape: [...input.shape.slice(0, -1), 1],
  })
  const [mean, inverse] = g.addOutputs(y, [of('mean'), of('inverse_deviation')])
  if (mean === undefined || inverse === undefined) throw new Error('a layer normalisation gave no statistics')
  const n = mul(g, sub(g, input, mean), inverse)
  const dyn = mul(g, dy, n)
  const share = scale(g, reshape(g, w, [H, 1]), 1 / H)
  return [
    () => {
      const centred = sub(g, mul(g, dy, w), matmul(g, dy, share))
      return mul(g, sub(g, centred, mul(g, n, matmul(g, dyn, share))), inverse)
    },
    () => sumTo(g, dyn, w.shape),
    () => sumTo(g, dy, b.shape),
  ]
}
