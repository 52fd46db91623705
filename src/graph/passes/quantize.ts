// Dense layers in eight-bit integers. Weights are symmetric, with a scale for each output, rounded to the nearest (Jacob
// et al. 2018, section 2; scales per channel as in Krishnamoorthi 2018, section 3). All else stays float32.

import { bytesOf, type Constant } from '../graph.js'
import { quantizedLinear } from '../operators.js'
import { constantOf } from './pattern.js'
import { type Pass, rewrite } from './rewrite.js'

export interface QuantizedWeight {
  /** [inputs, outputs]: the transposed of how PyTorch stores a weight, for that is how products take it. */
  readonly values: Int8Array
  /** [outputs]: what an integer of the output's column stands for. */
  readonly scales: Float32Array
}

/**
 * @param weight [outputs, inputs]
 * @param largest the magnitude that an output's largest weight gets: 127, or less where sums would overflow
 */
export function quantize(weight: Float32Array, outputs: number, largest: number): QuantizedWeight {
  const inputs = weight.length / outputs
  const values = new Int8Array(weight.length)
  const scales = new Float32Array(outputs)
  for (let o = 0; o < outputs; o++) {
    const row = weight.subarray(o * inputs, (o + 1) * inputs)
    let peak = 0
    for (const value of row) peak = Math.max(peak, Math.abs(value))
    // A row of zeros: any scale will do.
    const scale = Math.fround(peak / largest) || 1
    scales[o] = scale
    for (let i = 0; i < inputs; i++) values[i * outputs + o] = Math.round((row[i] ?? 0) / scale)
  }
  return { values, scales }
}

/**
 * Products with a constant weight, x · weightᵀ + bias, in integers: on the CPU.
 * @param largest see quantize
 * @param read the numbers of a constant of floats
 */
export const quantizeDense =
  (largest: number, read: (constant: Constant) => Float32Array): Pass =>
  (graph) =>
    rewrite(graph, (node, rewriting) => {
      const { g, toNew } = rewriting
      const [x, weight, bias] = node.inputs
      if (node.operator !== 'Gemm' || node.attributes.transB !== 1 || !x || !weight || !bias) return undefined
      const stored = constantOf(weight, rewriting)
      const [outputs, inputs] = weight.shape
      if (stored === undefined || typeof outputs !== 'number' || typeof inputs !== 'number') return undefined
      const { values, scales } = quantize(read(stored), outputs, largest)
      const { name } = stored.value
      const integers = g.constant(`${name}.integers`, 'int8', [inputs, outputs], bytesOf(values))
      const scale = g.constant(`${name}.scales`, 'float32', [outputs], bytesOf(scales))
      return [quantizedLinear(g, toNew(x), integers, scale, toNew(bias))]
    })
