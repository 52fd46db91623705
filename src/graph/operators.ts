// The operators of the graphs. Each function is an operator's signature, the shape of its result, and its ONNX form.
// Letters in shapes: T packed tokens, B rows of a batch, S tokens of the longest row, H hidden size.

import type { DataType, Dimension, GraphBuilder, Shape, Value } from './graph.js'
import { onnxElementType } from './onnx.js'

/** Entries of a table along `axis`: for axis 0, y = table[index]. The shape of the index replaces the axis. */
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

/** Along `axis`, the element of x at the index in the same place: for the last axis, y[i,j] = x[i,index[i,j]]. */
export const gatherElements = (g: GraphBuilder, x: Value, index: Value, axis: number): Value =>
  g.node('GatherElements', [x, index], { dtype: x.dtype, shape: index.shape }, { attributes: { axis } })

/** Elements `start` to `end` (exclusive) along an axis of known size. */
export function slice(g: GraphBuilder, x: Value, axis: number, start: number, end: number): Value {
  if (start === 0 && end === x.shape[axis]) return x
  return sliceTo(g, x, axis, start, end, end - start)
}

/** Elements from `start` to the end of an axis of any size. `length` is their number or the name of it. */
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

/** x [T,I] · weightᵀ + bias, with a weight [O,I] in PyTorch's layout. */
export const linear = (g: GraphBuilder, x: Value, weight: Value, bias: Value): Value =>
  g.node(
    'Gemm',
    [x, weight, bias],
    { dtype: x.dtype, shape: [at(x.shape, 0), at(weight.shape, 0)] },
    { attributes: { transB: 1 } },
  )

/**
 * The uint8 integers round(x / scale) + zero. Integers that do not fit become 0 or 255. The operator has no gradient.
 * @param scale a scalar, or [T] with a scale for each row of x [T,I]
 * @param zero uint8, of the shape of the scale
 */
export const quantizeLinear = (g: GraphBuilder, x: Value, scale: Value, zero: Value): Value =>
  g.node('QuantizeLinear', [x, scale, zero], { dtype: 'uint8', shape: x.shape }, { attributes: { axis: 0 } })

/**
 * (x − zero) · scale [T,I] times weight · scales, plus the bias. The products are summed in 32-bit integers. The operator
 * has no gradient.
 * @param x uint8 [T,I], with a scalar scale and a scalar zero
 * @param weight int8 [I,O]
 * @param scales float32 [O]: the scale of each column of the weight
 */
export const integerProduct = (
  g: GraphBuilder,
  { integers, scale, zero }: { readonly integers: Value; readonly scale: Value; readonly zero: Value },
  weight: Value,
  scales: Value,
  bias?: Value,
): Value =>
  g.node(
    'MatMulIntegerToFloat',
    [integers, weight, scale, scales, zero, undefined, bias],
    { dtype: 'float32', shape: [at(integers.shape, 0), at(weight.shape, 1)] },
    { domain: 'com.microsoft' },
  )

/** Product of two matrices. Each of them may be transposed first. */
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

/** Batched product […,M,K] · […,N,K]ᵀ of the last two axes. */
export const matmulTransposed = (g: GraphBuilder, a: Value, b: Value): Value => matmul(g, a, swapLast(g, b))

/** Reorders the axes: axis i of the result is axis `order[i]` of x. */
export const transpose = (g: GraphBuilder, x: Value, order: readonly number[]): Value =>
  g.node(
    'Transpose',
    [x],
    { dtype: x.dtype, shape: order.map((axis) => at(x.shape, axis)) },
    { attributes: { perm: order } },
  )

/** Swaps the last two axes. */
export function swapLast(g: GraphBuilder, x: Value): Value {
  const rank = x.shape.length
  return transpose(g, x, [...Array(rank - 2).keys(), rank - 1, rank - 2])
}

export const add = (g: GraphBuilder, a: Value, b: Value): Value => elementwise(g, 'Add', a, b)
export const sub = (g: GraphBuilder, a: Value, b: Value): Value => elementwise(g, 'Sub', a, b)
export const mul = (g: GraphBuilder, a: Value, b: Value): Value => elementwise(g, 'Mul', a, b)
export const div = (g: GraphBuilder, a: Value, b: Value): Value => elementwise(g, 'Div', a, b)

/** The largest of a, b and a number at each place. */
export const largestOf = (g: GraphBuilder, a: Value, b: Value, number: number): Value =>
  g.node('Max', [a, b, g.scalar(number)], { dtype: a.dtype, shape: broadcast('Max', a.shape, b.shape) })

/** x multiplied by a number. */
export const scale = (g: GraphBuilder, x: Value, factor: number): Value => mul(g, x, g.scalar(factor))

export const relu = (g: GraphBuilder, x: Value): Value => g.node('Relu', [x], x)

/** GELU, computed with the error function. */
export const gelu = (g: GraphBuilder, x: Value): Value =>
  g.node('Gelu', [x], x, { attributes: { approximate: 'none' } })

/** The tanh approximation of GELU. */
export const geluTanh = (g: GraphBuilder, x: Value): Value =>
  g.node('Gelu', [x], x, { attributes: { approximate: 'tanh' } })

export const exp = (g: GraphBuilder, x: Value): Value => g.node('Exp', [x], x)

export const sqrt = (g: GraphBuilder, x: Value): Value => g.node('Sqrt', [x], x)

/** The Gauss error function. */
export const erf = (g: GraphBuilder, x: Value): Value => g.node('Erf', [x], x)

/** −1, 0 or 1, by the sign of the element. */
export const sign = (g: GraphBuilder, x: Value): Value => g.node('Sign', [x], x)

export const sigmoid = (g: GraphBuilder, x: Value): Value => g.node('Sigmoid', [x], x)

/** x · sigmoid(x), also named swish. */
export const silu = (g: GraphBuilder, x: Value): Value => mul(g, x, sigmoid(g, x))

/** log(1 + exp(x)) */
export const softplus = (g: GraphBuilder, x: Value): Value => g.node('Softplus', [x], x)

/** Logarithm of softmax over the last axis. */
export const logSoftmax = (g: GraphBuilder, x: Value): Value =>
  g.node('LogSoftmax', [x], x, { attributes: { axis: -1 } })

/** Softmax over the last axis. */
export const softmax = (g: GraphBuilder, x: Value): Value => g.node('Softmax', [x], x, { attributes: { axis: -1 } })

export const tanh = (g: GraphBuilder, x: Value): Value => g.node('Tanh', [x], x)

/** Layer normalisation over the last axis. */
export const layerNorm = (g: GraphBuilder, x: Value, weight: Value, bias: Value | undefined, epsilon: number): Value =>
  g.node('LayerNormalization', bias ? [x, weight, bias] : [x, weight], x, {
    attributes: { axis: -1, epsilon: { float: epsilon } },
  })

/**
 * Rotates pairs of elements: those of the first and of the second half of a head, (a, b), become
 * (a·cos − b·sin, b·cos + a·sin).
 * @param x [1,T,H]
 * @param cosines [T, head size / 2], and so are the sines
 */
export const rotaryEmbedding = (g: GraphBuilder, x: Value, cosines: Value, sines: Value): Value => {
  // The operator looks up each token's entry of the tables by its position. Here token t has the position t.
  return g.node('RotaryEmbedding', [x, g.integers([0]), cosines, sines], x, { domain: 'com.microsoft' })
}

/** Changes the shape. One dimension may be -1: its size follows from the others, and its name becomes `rest`. */
export function reshape(g: GraphBuilder, x: Value, shape: Shape, rest: Dimension = 'rest'): Value {
  const target = shape.map((dim, axis) => (typeof dim === 'number' ? dim : dim === x.shape[axis] ? 0 : -1))
  const open = target.filter((dim) => dim === -1).length
  return g.node('Reshape', [x, open > 1 ? sizes(g, shape) : g.integers(target)], {
    dtype: x.dtype,
    shape: shape.map((dim) => (dim === -1 ? rest : dim)),
  })
}

/** A shape as an int64 input of operators. Named sizes are read at run time from an input of the graph that has them. */
export function sizes(g: GraphBuilder, shape: Shape): Value {
  if (shape.every((dim) => typeof dim === 'number')) return g.integers(shape)
  const parts = shape.map((dim) => (typeof dim === 'number' ? g.integers([dim]) : sizeOf(g, dim)))
  const [first] = parts
  if (first && parts.length === 1) return first
  return g.node('Concat', parts, { dtype: 'int64', shape: [shape.length] }, { attributes: { axis: 0 } })
}

function sizeOf(g: GraphBuilder, name: string): Value {
  const input = g.inputs.find(({ shape }) => shape.includes(name))
  if (input === undefined) throw new Error(`no input of the graph has a dimension "${name}"`)
  const start = input.shape.indexOf(name)
  return g.node('Shape', [input], { dtype: 'int64', shape: [1] }, { attributes: { start, end: start + 1 } })
}

/** Sum over the given axes. They are removed unless `keep` is true. */
export const reduceSum = (g: GraphBuilder, x: Value, axes: readonly number[], keep = false): Value =>
  g.node('ReduceSum', [x, g.integers(axes)], reduced(x, axes, keep), { attributes: { keepdims: keep ? 1 : 0 } })

const reduced = ({ dtype, shape }: Value, axes: readonly number[], keep: boolean): Pick<Value, 'dtype' | 'shape'> => ({
  dtype,
  shape: shape.flatMap((dim, axis) => (axes.includes(axis) ? (keep ? [1] : []) : [dim])),
})

/** Largest element over the given axes, which must not be empty. They are removed unless `keep` is true. */
export const reduceMax = (g: GraphBuilder, x: Value, axes: readonly number[], keep = false): Value =>
  g.node('ReduceMax', [x, g.integers(axes)], reduced(x, axes, keep), { attributes: { keepdims: keep ? 1 : 0 } })

/** Smallest element over the given axes, which must not be empty. They are removed. */
export const reduceMin = (g: GraphBuilder, x: Value, axes: readonly number[]): Value =>
  g.node('ReduceMin', [x, g.integers(axes)], reduced(x, axes, false), { attributes: { keepdims: 0 } })

/** Repeats x along axes of size 1 and along new leading axes. */
export function expand(g: GraphBuilder, x: Value, shape: Shape): Value {
  // Expand keeps an axis whose target size is 1, so a size that x already has need not be computed at run time.
  const added = shape.length - x.shape.length
  const target = shape.map((dim, axis) => (dim === x.shape[axis - added] ? 1 : dim))
  return g.node('Expand', [x, sizes(g, target)], { dtype: x.dtype, shape })
}

/**
 * Adds zeros before and after x along one axis.
 * @param padded the name of the axis afterwards, if its size is known only at run time
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

/** Concatenates along an axis. If the resulting size is known only at run time, its name is `together`. */
export function concat(g: GraphBuilder, parts: readonly Value[], axis: number, together: Dimension): Value {
  const [first] = parts
  if (first === undefined) throw new Error('concat needs at least one value')
  const lengths = parts.map(({ shape }) => at(shape, axis))
  const length = lengths.every((dim) => typeof dim === 'number') ? lengths.reduce((sum, dim) => sum + dim, 0) : together
  const shape = first.shape.map((dim, i) => (i === axis ? length : dim))
  return g.node('Concat', parts, { dtype: first.dtype, shape }, { attributes: { axis } })
}

/** Splits an axis into consecutive parts of the given sizes. */
export function split(g: GraphBuilder, x: Value, axis: number, sizes: readonly number[]): readonly Value[] {
  const [size, ...others] = sizes
  if (size === undefined) throw new Error('split needs at least one size')
  const part = (length: number) => ({ dtype: x.dtype, shape: x.shape.map((dim, i) => (i === axis ? length : dim)) })
  // Equal parts have a faster kernel.
  const equal = others.every((other) => other === size)
  const first = g.node('Split', equal ? [x] : [x, g.integers(sizes)], part(size), {
    attributes: equal ? { axis, num_outputs: sizes.length } : { axis },
  })
  const named = others.map((length, i) => ({ ...part(length), name: `${first.name}_${i + 1}` }))
  return [first, ...g.addOutputs(first, named)]
}

/** Zeros of a shape, with the entries of x [N,…] added at `index` [N]. Entries with the same index are summed. */
export function scatterAdd(g: GraphBuilder, shape: Shape, index: Value, x: Value): Value {
  const zeros = expand(g, g.scalar(0), shape)
  const indices = reshape(g, cast(g, index, 'int64'), [-1, 1])
  const attributes = { reduction: 'add' }
  return g.node('ScatterND', [zeros, indices, x], { dtype: x.dtype, shape }, { attributes })
}

/** Zeros of the shape of x, with the elements of `fresh` added at the places from which {@link gatherElements} reads. */
export const scatterElementsAdd = (g: GraphBuilder, x: Value, index: Value, fresh: Value, axis: number): Value =>
  g.node('ScatterElements', [scale(g, x, 0), index, fresh], x, { attributes: { axis, reduction: 'add' } })

/**
 * Convolution along the last axis with zeros at both ends, so that the length stays the same.
 * @param x [B,I,S]
 * @param weight [O,I/groups,K] with an odd K
 * @param bias [O]
 * @returns [B,O,S]
 */
export function convolution(g: GraphBuilder, x: Value, weight: Value, bias: Value, groups: number): Value {
  const [B, , S] = x.shape as readonly [Dimension, Dimension, Dimension]
  return g.node(
    'Conv',
    [x, weight, bias],
    { dtype: x.dtype, shape: [B, at(weight.shape, 0), S] },
    { attributes: { group: groups, pads: samePads(weight) } },
  )
}

/**
 * The gradient of {@link convolution} by x.
 * @param dy [B,O,S]
 * @returns [B,I,S]
 */
export const transposedConvolution = (g: GraphBuilder, dy: Value, weight: Value, x: Value, groups: number): Value =>
  g.node('ConvTranspose', [dy, weight], x, { attributes: { group: groups, pads: samePads(weight) } })

function samePads(weight: Value): readonly number[] {
  const each = ((weight.shape[2] as number) - 1) / 2
  return [each, each]
}

/** x with the elements at `index` of its first axis replaced by `fresh`, which has the shape of the index. */
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
    if (x !== y && x !== 1 && y !== 1)
      throw new Error(`${operator}: shapes [${a}] and [${b}] cannot be broadcast together`)
    return x === 1 ? y : x
  })
}

function at(shape: Shape, axis: number): Dimension {
  const dim = shape.at(axis)
  if (dim === undefined) throw new Error(`shape [${shape}] has no axis ${axis}`)
  return dim
}
