// Dense layers in 8-bit integers. Weights are quantised symmetrically, with one scale for each output, and rounded to the
// nearest integer (Jacob et al. 2018, section 2; a scale per channel as in Krishnamoorthi 2018, section 3). Activations get
// scales that do not depend on the other rows. All other operators stay float32.

import { bytesOf, type Constant, type GraphBuilder, type Value } from '../graph.js'
import {
  add,
  expand,
  integerProduct,
  largestOf,
  mul,
  quantizeLinear,
  reduceMax,
  reduceMin,
  reshape,
  scale,
} from '../operators.js'
import { type ChannelRanges, denseInputs, denseShape } from './dense-inputs.js'
import { constantOf } from './pattern.js'
import { type Pass, rewrite } from './rewrite.js'

/** Rows and weights with smaller values are treated as zeros. */
const smallestStep = Math.fround(1e-30)

export interface QuantizedWeight {
  /** [inputs, outputs], the transpose of PyTorch's layout, because the operator requires it. */
  readonly values: Int8Array
  /** [outputs]: the scale of each column. */
  readonly scales: Float32Array
  /** [outputs]: by how much rounding raises each output for the mean of the inputs. */
  readonly raised: Float32Array
}

/**
 * @param weight [outputs, inputs]
 * @param largest the integer for the largest weight of an output: 127, or less on machines where sums would overflow
 * @param factors [inputs]: factors of the columns of the weight
 * @param mean [inputs]: the mean of the inputs, before they are divided by the factors
 */
export function quantize(
  weight: Float32Array,
  outputs: number,
  largest: number,
  factors: Float32Array,
  mean: Float32Array,
): QuantizedWeight {
  const inputs = weight.length / outputs
  const values = new Int8Array(weight.length)
  const scales = new Float32Array(outputs)
  const raised = new Float32Array(outputs)
  const own = new Float32Array(inputs)
  for (let o = 0; o < outputs; o++) {
    let peak = 0
    for (let i = 0; i < inputs; i++) {
      own[i] = (weight[o * inputs + i] ?? 0) * (factors[i] ?? 1)
      peak = Math.max(peak, Math.abs(own[i] ?? 0))
    }
    // If all weights are nearly zero, any scale is correct.
    const step = peak > smallestStep ? Math.fround(peak / largest) : 1
    scales[o] = step
    let error = 0
    for (let i = 0; i < inputs; i++) {
      const exact = own[i] ?? 0
      const integer = Math.round(exact / step)
      values[i * outputs + o] = integer
      error += ((integer * step - exact) * (mean[i] ?? 0)) / (factors[i] ?? 1)
    }
    raised[o] = error
  }
  return { values, scales, raised }
}

export interface QuantizeOptions {
  /** As for {@link quantize}. */
  readonly largest: number
  /** Returns the numbers of a float constant. */
  readonly read: (constant: Constant) => Float32Array
  /** The ranges of the inputs of dense layers, by the names of the inputs. Layers without ranges stay float32. */
  readonly ranges: ReadonlyMap<string, ChannelRanges>
}

/** The input of dense layers in integers. */
interface QuantizedInput {
  /** uint8 [T,I] */
  readonly integers: Value
  readonly zero: Value
  readonly scale: Value
  /** [I]: factors by which the columns of the weights must be multiplied. */
  readonly factors: Float32Array
  /** [T,1]: factors by which the rows of the product must be multiplied. */
  readonly rowScales?: Value
}

/** Computes dense layers with a constant weight in integers. Kernels: CPU. */
export const quantizeDense =
  ({ largest, read, ranges }: QuantizeOptions): Pass =>
  (graph) => {
    const outputsOf = denseInputs(graph)
    const quantized = new Map<Value, QuantizedInput>()
    return rewrite(graph, (node, rewriting) => {
      const { g, toNew } = rewriting
      const [x, weight, bias] = node.inputs
      const shape = denseShape(node)
      const range = x && ranges.get(x.name)
      const stored = weight && constantOf(weight, rewriting)
      const storedBias = bias && constantOf(bias, rewriting)
      if (!shape || !range || !stored || (bias && !storedBias)) return undefined
      const { inputs, outputs } = shape
      // A scale for each row costs a pass over the inputs and two over the outputs.
      const quantizeInput = (outputsOf.get(x) ?? 0) <= inputs ? quantizeRows : quantizeSmoothed
      const input = quantized.get(x) ?? quantizeInput(g, toNew(x), range)
      quantized.set(x, input)

      const { values, scales, raised } = quantize(read(stored), outputs, largest, input.factors, range.mean)
      const exactBias = storedBias ? read(storedBias) : new Float32Array(outputs)
      const lowered = exactBias.map((value, o) => value - (raised[o] ?? 0))
      const { name } = stored.value
      const constant = (part: string, array: Float32Array) =>
        g.constant(`${name}.${part}`, 'float32', [outputs], bytesOf(array))
      const integers = g.constant(`${name}.integers`, 'int8', [inputs, outputs], bytesOf(values))
      const [columnScales, newBias] = [constant('scales', scales), constant('bias', lowered)]
      if (!input.rowScales) return [integerProduct(g, input, integers, columnScales, newBias)]
      return [add(g, mul(g, integerProduct(g, input, integers, columnScales), input.rowScales), newBias)]
    })
  }

/**
 * One scale for all rows. A few channels have much larger values than the others and would leave them few integers.
 * Therefore each channel is divided by the root of its largest value, and the weights are multiplied by it (SmoothQuant:
 * Xiao et al. 2023, arXiv 2211.10438, equation 4 with α = 0.5, without the weights' own range).
 */
function quantizeSmoothed(g: GraphBuilder, x: Value, { low, high }: ChannelRanges): QuantizedInput {
  const peaks = low.map((value, i) => Math.max(-value, high[i] ?? 0, 0))
  const peak = peaks.reduce((most, value) => Math.max(most, value), 0) || 1
  // Other texts may have values in channels that were near zero.
  const factors = peaks.map((value) => Math.sqrt(Math.max(value, peak * smallestPeak)))
  const bottom = low.reduce((least, value, i) => Math.min(least, value / (factors[i] ?? 1)), 0)
  const top = high.reduce((most, value, i) => Math.max(most, value / (factors[i] ?? 1)), 0)
  const step = Math.fround((top - bottom) / 255) || 1
  const number = (part: string, array: Float32Array, shape: readonly number[]) =>
    g.constant(`${x.name}.${part}`, 'float32', shape, bytesOf(array))
  const inverses = number(
    'inverse_factors',
    factors.map((factor) => 1 / factor),
    [factors.length],
  )
  const stepValue = number('step', Float32Array.of(step), [])
  const zero = g.constant(`${x.name}.zero`, 'uint8', [], Uint8Array.of(Math.round(-bottom / step)))
  return { integers: quantizeLinear(g, mul(g, x, inverses), stepValue, zero), scale: stepValue, zero, factors }
}

/** The smallest peak that a channel is assumed to have, as a share of the largest. */
const smallestPeak = 0.001

/** A scale for each row, by its smallest and its largest element. Rows share the integer that stands for zero. */
function quantizeRows(g: GraphBuilder, x: Value, { low, high }: ChannelRanges): QuantizedInput {
  const sum = (values: Float32Array) => values.reduce((total, value) => total + value, 0)
  const [below, above] = [-sum(low), sum(high)]
  const level = Math.min(254, Math.max(1, Math.round((255 * below) / (below + above)) || 0))
  const zero = g.constant(`${x.name}.zero`, 'uint8', [], Uint8Array.of(level))
  const [rows = 'T'] = x.shape
  const fromLargest = scale(g, reduceMax(g, x, [1]), Math.fround(1 / (255 - level)))
  const fromSmallest = scale(g, reduceMin(g, x, [1]), Math.fround(-1 / level))
  const steps = largestOf(g, fromLargest, fromSmallest, smallestStep)
  return {
    integers: quantizeLinear(g, x, steps, expand(g, zero, [rows])),
    scale: g.scalar(1),
    zero,
    factors: new Float32Array(low.length).fill(1),
    rowScales: reshape(g, steps, [-1, 1], rows),
  }
}
