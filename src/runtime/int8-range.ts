// The range of int8 weights that this processor multiplies exactly. x86 without VNNI adds two products in 16 bits, which
// saturate for weights of 8 bits: 2 · 255 · 127 is too large. Weights of 7 bits are safe. A test product tells which it is.

import { bytesOf, GraphBuilder } from '../graph/graph.js'
import { quantizedLinear } from '../graph/operators.js'
import { GraphSession } from './graph-session.js'

// The sizes of the test product.
const inputs = 64
const outputs = 32
const batch = 8

/** The largest absolute weight with which onnxruntime's integer products are exact on this processor: 127 or 63. */
export async function largestExactWeight(): Promise<127 | 63> {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', [batch, inputs])
  const weight = g.constant('weight', 'int8', [inputs, outputs], bytesOf(new Int8Array(inputs * outputs).fill(127)))
  const scales = g.constant('scales', 'float32', [outputs], bytesOf(new Float32Array(outputs).fill(1)))
  const bias = g.constant('bias', 'float32', [outputs], bytesOf(new Float32Array(outputs)))
  const sums = g.output('sums', quantizedLinear(g, x, weight, scales, bias))
  const session = await GraphSession.open(g.build([sums]), { threads: 1 })
  try {
    const ones = { shape: [batch, inputs], data: new Float32Array(batch * inputs).fill(1) }
    const found = (await session.run({ x: ones })).get('sums') ?? new Float32Array()
    const exact = found.length === batch * outputs && found.every((sum) => Math.abs(sum - inputs * 127) < 1)
    return exact ? 127 : 63
  } finally {
    await session.release()
  }
}
