// The range of int8 weights that this processor multiplies exactly. x86 without VNNI adds two products in 16 bits, which
// saturate for weights of 8 bits: 2 · 255 · 127 is too large. Weights of 7 bits are safe. A test product tells which it is.

import { InferenceSession, Tensor } from 'onnxruntime-node'
import { bytesOf, GraphBuilder } from '../graph/graph.js'
import { serializeOnnx } from '../graph/onnx.js'
import { integerProduct } from '../graph/operators.js'

// The sizes of the test product.
const inputs = 64
const outputs = 32
const batch = 8

/** The largest absolute weight with which onnxruntime's integer products are exact on this processor: 127 or 63. */
export async function largestExactWeight(): Promise<127 | 63> {
  const g = new GraphBuilder()
  const integers = g.input('x', 'uint8', [batch, inputs])
  const weight = g.constant('weight', 'int8', [inputs, outputs], bytesOf(new Int8Array(inputs * outputs).fill(127)))
  const scales = g.constant('scales', 'float32', [outputs], bytesOf(new Float32Array(outputs).fill(1)))
  const zero = g.constant('zero', 'uint8', [], Uint8Array.of(0))
  const sums = g.output('sums', integerProduct(g, { integers, scale: g.scalar(1), zero }, weight, scales))
  const options = { intraOpNumThreads: 1, graphOptimizationLevel: 'basic', logSeverityLevel: 4 } as const
  const session = await InferenceSession.create(serializeOnnx(g.build([sums])), options)
  try {
    const x = new Tensor('uint8', new Uint8Array(batch * inputs).fill(255), [batch, inputs])
    const found = Array.from((await session.run({ x })).sums?.data as Float32Array)
    const exact = found.length === batch * outputs && found.every((sum) => sum === inputs * 255 * 127)
    return exact ? 127 : 63
  } finally {
    await session.release()
  }
}
