// Dense layers in 8-bit integers. Weights are quantised symmetrically, with one scale for each output, and rounded to the
// nearest integer (Jacob et al. 2018, section 2; a scale per channel as in Krishnamoorthi 2018, section 3). All other
// operators stay float32.

import { bytesOf, type Constant } from '../graph.js'
import { quantizedLinear } from '../operators.js'
import { constantOf } from './pattern.js'
import { type Pass, rewrite } from './rewrite.js'

export interface QuantizedWeight {
  /** [inputs, outputs], the transpose of PyTorch's layout, because the operator requires it. */
  readonly values: Int8Array
  /** [outputs]: the scale of each column. */
  readonly scales: Float32Array
}

/**
 * @param weight [outputs, inputs]
 * @param largest the integer for the largest weight of an output: 127, or less on machines where sums would overflow
 */
export function quantize(weight: Float32Array, outputs: number, largest: number): QuantizedWeight {
  const inputs = weight.length / outputs
  const values = new Int8Array(weight.length)
  const scales = new Float32Array(outputs)
  for (let o = 0; o < outputs; o++) {
    const own = weight.subarray(o * inputs, (o + 1) * inputs)
    let peak = 0
    for (const value of own) peak = Math.max(peak, Math.abs(value))
    // If all weights are zero, any scale is correct.
    const scale = Math.fround(peak / largest) || 1
    scales[o] = scale
    for (let i = 0; i < inputs; i++) values[i * outputs + o] = Math.round((own[i] ?? 0) / scale)
  }
  return { values, scales }
}

/**
 * Computes products with a constant weight, x · weightᵀ with or without a bias, in integers. Kernels: CPU.
 * @param largest as for {@link quantize}
 * @param read returns the numbers of a float constant
 */
export const quantizeDense =
  (largest: number, read: (constant: Constant) => Float32Array): Pass =>
  (graph) =>
    rewrite(graph, (node, rewriting) => {
      const { g, toNew } = rewriting
      const [x, weight, bias] = node.inputs
      const { transA, transB } = node.attributes
      if (node.operator !== 'Gemm' || transA === 1 || transB !== 1 || !x || !weight) return undefined
      const stored = constantOf(weight, rewriting)
      const [outputs, inputs] = weight.shape
      if (stored === undefined || typeof outputs !== 'number' || typeof inputs !== 'number') return undefined
      const { values, scales } = quantize(read(stored), outputs, largest)
      const { name } = stored.value
      const integers = g.constant(`${name}.integers`, 'int8', [inputs, outputs], bytesOf(values))
      const scale = g.constant(`${name}.scales`, 'float32', [outputs], bytesOf(scales))
      return [quantizedLinear(g, toNew(x), integers, scale, bias && toNew(bias))]
    })
