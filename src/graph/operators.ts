// The operators that our graphs are made of: signature, shape rule and ONNX spelling, one function each.
// Shapes are written with the paper's letters: T packed tokens, B rows, S longest row, H hidden size.

import type { DataType, Dimension, GraphBuilder, Shape, Value } from './graph.js'
import { onnxElementType } from './onnx.js'

/** Rows of a table: y = table[index[…], …] along `axis`, which the shape of the index replaces. */
export const gather = (g: GraphBuilder, table: Value, index: Value, axis = 0): Value =>
  g.node(
    'Gather',
    [table, index],
    {
      dtype: table.dtype,
      shape: [...table.shape.slice(0, axis), ...index.shape, ...table.shape.slice(axis + 1)],
    },
    { attributes: { axis } },
  )

/** Elements `start` to `end` (exclusive) along an axis of known size. */
export function slice(g: GraphBuilder, x: Value, axis: number, start: number, end: number): Value {
  if (start === 0 && end === x.shape[axis]) return x
  return sliceTo(g, x, axis, start, end, end - start)
}

/** Elements from `start` to the end of an axis, however long it is; `length` says or names how many they are. */
export const sliceFrom = (g: GraphBuilder, x: Value, axis: number, start: number, length: Dimension): Value =>
  sliceTo(g, x, axis, start, 2 ** 31 - 1, length)

function sliceTo(g: GraphBuilder, x: Value, axis: number, start: number, end: number, length: Dimension): Value {
  return g.node('Slice', [x, g.integers([start]), g.integers([end]), g.integers([axis])], {
    dtype: x.dtype,
    shape: x.shape.map((dim, i) => (i === axis ? length : dim)),
  })
}

export const cast = (g: GraphBuilder, x: Value, to: DataType): Value =>
  x.dtype === to ? x : g.node('Cast', [x], { dtype: to, shape: x.shape }, { attributes: { to: onnxElementType(to) } })

/** x [T,I] · weightᵀ + bias, with the weight [O,I] as PyTorch stores it. */
export const linear = (g: GraphBuilder, x: Value, weight: Value, bias: Value): Value =>
  g.node(
    'Gemm',
    [x, weight, bias],
    { dtype: x.dtype, shape: [at(x.shape, 0), at(weight.shape, 0)] },
    { attributes: { transB: 1 } },
  )

/**
 * x [T,I] · weight + bias in eight-bit integers. x becomes integers of one scale and zero point, those of its smallest
 * and largest element, as it runs; sums are 32 bits wide. It has no gradient.
 * @param weight int8 [I,O]
 * @param scales float32 [O]: what an integer of the output's column stands for
 */
export const quantizedLinear = (g: GraphBuilder, x: Value, weight: Value, scales: Value, bias: Value): Value =>
  g.node(
    'DynamicQuantizeMatMul',
    [x, weight, scales, undefined, bias],
    { dtype: x.dtype, shape: [at(x.shape, 0), at(weight.shape, 1)] },
    { domain: 'com.microsoft' },
  )

/** Matrix product of two matrices, either of them transposed first if asked. */
export const gemm = (
  g: GraphBuilder,
  a: Value,
  b: Value,
  { transA = 0, transB = 0 }: { readonly transA?: 0 | 1; readonly transB?: 0 | 1 } = {},
): Value =>
  g.node(
    'Gemm',
    [a, b],
    { dtype: a.dtype, shape: [at(a.shape, transA), at(b.shape, 1 - transB)] },
    { attributes: { transA, transB } },
  )

/** Batched matrix product […,M,K] · […,K,N]; the leading axes broadcast. */
export const matmul = (g: GraphBuilder, a: Value, b: Value): Value =>
  g.node('MatMul', [a, b], {
    dtype: a.dtype,
    shape: [...broadcast('MatMul', a.shape.slice(0, -2), b.shape.slice(0, -2)), at(a.shape, -2), at(b.shape, -1)],
  })

/** a · bᵀ of the last two axes, batched: […,M,K] · […,N,K]. */
export const matmulTransposed = (g: GraphBuilder, a: Value, b: Value): Value => matmul(g, a, swapLast(g, b))

/** Axes in a new order: axis i of the result is axis `order[i]` of x. */
export const transpose = (g: GraphBuilder, x: Value, order: readonly number[]): Value =>
  g.node(
    'Transpose',
    [x],
    { dtype: x.dtype, shape: order.map((axis) => at(x.shape, axis)) },
    { attributes: { perm: order } },
  )

/** The last two axes swapped. */
export function swapLast(g: GraphBuilder, x: Value): Value {
  const rank = x.shape.length
  return transpose(g, x, [...Array(rank - 2).keys(), rank - 1, rank - 2])
}

export const add = (g: GraphBuilder, a: Value, b: Value): Value => elementwise(g, 'Add', a, b)
export const sub = (g: GraphBuilder, a: Value, b: Value): Value => elementwise(g, 'Sub', a, b)
export const mul = (g: GraphBuilder, a: Value, b: Value): Value => elementwise(g, 'Mul', a, b)
export const div = (g: GraphBuilder, a: Value, b: Value): Value => elementwise(g, 'Div', a, b)

/** x times a number. */
export const scale = (g: GraphBuilder, x: Value, factor: number): Value => mul(g, x, g.scalar(factor))

export const relu = (g: GraphBuilder, x: Value): Value => g.node('Relu', [x], x)

/** GELU by the error function. */
export const gelu = (g: GraphBuilder, x: Value): Value =>
  g.node('Gelu', [x], x, { attributes: { approximate: 'none' } })

/** GELU's tanh approximation. */
export const geluTanh = (g: GraphBuilder, x: Value): Value =>
  g.node('Gelu', [x], x, { attributes: { approximate: 'tanh' } })

export const exp = (g: GraphBuilder, x: Value): Value => g.node('Exp', [x], x)

/** Square root. */
export const sqrt = (g: GraphBuilder, x: Value): Value => g.node('Sqrt', [x], x)

/** The error function. */
export const erf = (g: GraphBuilder, x: Value): Value => g.node('Erf', [x], x)

/** −1, 0 or 1. */
export const sign = (g: GraphBuilder, x: Value): Value => g.node('Sign', [x], x)

export const sigmoid = (g: GraphBuilder, x: Value): Value => g.node('Sigmoid', [x], x)

/** log(1 + exp(x)) */
export const softplus = (g: GraphBuilder, x: Value): Value => g.node('Softplus', [x], x)

/** Logarithm of softmax over the last axis. */
export const logSoftmax = (g: GraphBuilder, x: Value): Value =>
  g.node('LogSoftmax', [x], x, { attributes: { axis: -1 } })

/** Softmax over the last axis. */
export const softmax = (g: GraphBuilder, x: Value): Value => g.node('Softmax', [x], x, { attributes: { axis: -1 } })

export const tanh = (g: GraphBuilder, x: Value): Value => g.node('Tanh', [x], x)

/** Layer normalisation over the last axis. */
export const layerNorm = (g: GraphBuilder, x: Value, weight: Value, bias: Value, epsilon: number): Value =>
  g.node('LayerNormalization', [x, weight, bias], x, { attributes: { axis: -1, epsilon: { float: epsilon } } })

/** Reshape. One dimension of `shape` may be -1: it takes what is left, and is called `rest` from then on. */
export function reshape(g: GraphBuilder, x: Value, shape: Shape, rest: Dimension = 'rest'): Value {
  const target = shape.map((dim, axis) => (typeof dim === 'number' ? dim : dim === x.shape[axis] ? 0 : -1))
  const open = target.filter((dim) => dim === -1).length
  return g.node('Reshape', [x, open > 1 ? sizes(g, shape) : g.integers(target)], {
    dtype: x.dtype,
    shape: shape.map((dim) => (dim === -1 ? rest : dim)),
  })
}

/** A shape as operators take it, int64. Sizes that only a run knows are those of the graph's inputs of that name. */
export function sizes(g: GraphBuilder, shape: Shape): Value {
  if (shape.every((dim) => typeof dim === 'number')) return g.integers(shape)
  const parts = shape.map((dim) => (typeof dim === 'number' ? g.integers([dim]) : sizeOf(g, dim)))
  return g.node('Concat', parts, { dtype: 'int64', shape: [shape.length] }, { attributes: { axis: 0 } })
}

function sizeOf(g: GraphBuilder, name: string): Value {
  const input = g.inputs.find(({ shape }) => shape.includes(name))
  if (input === undefined) throw new Error(`no input of the graph has a dimension "${name}"`)
  const start = input.shape.indexOf(name)
  return g.node('Shape', [input], { dtype: 'int64', shape: [1] }, { attributes: { start, end: start + 1 } })
}

/** Sum over the given axes, which are dropped unless `keep`. */
export const reduceSum = (g: GraphBuilder, x: Value, axes: readonly number[], keep = false): Value =>
  g.node(
    'ReduceSum',
    [x, g.integers(axes)],
    {
      dtype: x.dtype,
      shape: x.shape.flatMap((dim, axis) => (axes.includes(axis) ? (keep ? [1] : []) : [dim])),
    },
    { attributes: { keepdims: keep ? 1 : 0 } },
  )

/** x repeated along axes of size 1 and new leading ones. */
export function expand(g: GraphBuilder, x: Value, shape: Shape): Value {
  // The operator leaves an axis as it is where 1 is asked for: a length that x has need not be found out.
  const added = shape.length - x.shape.length
  const target = shape.map((dim, axis) => (dim === x.shape[axis - added] ? 1 : dim))
  return g.node('Expand', [x, sizes(g, target)], { dtype: x.dtype, shape })
}

/**
 * Zeros around x: `before` and `after` along one axis.
 * @param padded what the axis is called afterwards, where a run alone knows its length
 */
export function padZeros(
  g: GraphBuilder,
  x: Value,
  axis: number,
  before: number,
  after: number,
  padded: Dimension = at(x.shape, axis),
): Value {
  const along = (count: number) => x.shape.map((_, i) => (i === axis ? count : 0))
  const length = (dim: Dimension) => (typeof dim === 'number' ? dim + before + after : padded)
  return g.node('Pad', [x, g.integers([...along(before), ...along(after)])], {
    dtype: x.dtype,
    shape: x.shape.map((dim, i) => (i === axis ? length(dim) : dim)),
  })
}

/** Arrays end to end along one axis, whose length in the result is called `together` where a run alone knows it. */
export function concat(g: GraphBuilder, parts: readonly Value[], axis: number, together: Dimension): Value {
  const [first] = parts
  if (first === undefined) throw new Error('concat of nothing')
  const lengths = parts.map(({ shape }) => at(shape, axis))
  const length = lengths.every((dim) => typeof dim === 'number') ? lengths.reduce((sum, dim) => sum + dim, 0) : together
  const shape = first.shape.map((dim, i) => (i === axis ? length : dim))
  return g.node('Concat', parts, { dtype: first.dtype, shape }, { attributes: { axis } })
}

/** Consecutive parts of an axis, of these sizes. */
export function split(g: GraphBuilder, x: Value, axis: number, sizes: readonly number[]): readonly Value[] {
  const [size, ...others] = sizes
  if (size === undefined) throw new Error('split into nothing')
  const part = (length: number) => ({ dtype: x.dtype, shape: x.shape.map((dim, i) => (i === axis ? length : dim)) })
  // Equal parts take a faster kernel.
  const equal = others.every((other) => other === size)
  const first = g.node('Split', equal ? [x] : [x, g.integers(sizes)], part(size), {
    attributes: equal ? { axis, num_outputs: sizes.length } : { axis },
  })
  const named = others.map((length, i) => ({ ...part(length), name: `${first.name}_${i + 1}` }))
  return [first, ...g.addOutputs(first, named)]
}

/** Zeros of the shape given, with the rows `x` [N,…] added at `index` [N]; rows with the same index add up. */
export function scatterAdd(g: GraphBuilder, shape: Shape, index: Value, x: Value): Value {
  const zeros = expand(g, g.scalar(0), shape)
  const places = reshape(g, cast(g, index, 'int64'), [-1, 1])
  const attributes = { reduction: 'add' }
  return g.node('ScatterND', [zeros, places, x], { dtype: x.dtype, shape }, { attributes })
}

/** x with the elements `fresh` in place of those that lie at `index` of its first axis; the last two have one shape. */
export const scatter = (g: GraphBuilder, x: Value, index: Value, fresh: Value): Value =>
  g.node('ScatterElements', [x, index, fresh], x, { attributes: { axis: 0 } })

function elementwise(g: GraphBuilder, operator: string, a: Value, b: Value): Value {
  return g.node(operator, [a, b], { dtype: a.dtype, shape: broadcast(operator, a.shape, b.shape) })
}

function broadcast(operator: string, a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, axis) => {
    const x = a[axis - rank + a.length] ?? 1
    const y = b[axis - rank + b.length] ?? 1
    if (x !== y && x !== 1 && y !== 1) throw new Error(`${operator}: shapes [${a}] and [${b}] do not go together`)
    return x === 1 ? y : x
  })
}

function at(shape: Shape, axis: number): Dimension {
  const dim = shape.at(axis)
  if (dim === undefined) throw new Error(`shape [${shape}] has no axis ${axis}`)
  return dim
}
