// What this processor does with products of eight-bit integers. x86 without VNNI adds two of them in 16 bits, which
// saturate: 2 · 255 · 127 does not fit. Weights of 7 bits do; there is no better way to know than to compute one.

import { bytesOf, GraphBuilder } from '../graph/graph.js'
import { quantizedLinear } from '../graph/operators.js'
import { GraphSession } from './graph-session.js'

const inputs = 64
const outputs = 32
const rows = 8

/** The largest magnitude of a weight with which onnxruntime's integer products are exact here: 127 or 63. */
export async function largestExactWeight(): Promise<127 | 63> {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', [rows, inputs])
  const weight = g.constant('weight', 'int8', [inputs, outputs], bytesOf(new Int8Array(inputs * outputs).fill(127)))
  const scales = g.constant('scales', 'float32', [outputs], bytesOf(new Float32Array(outputs).fill(1)))
  const bias = g.constant('bias', 'float32', [outputs], bytesOf(new Float32Array(outputs)))
  const sums = g.output('sums', quantizedLinear(g, x, weight, scales, bias))
  const session = await GraphSession.open(g.build([sums]), { threads: 1 })
  try {
    const ones = { shape: [rows, inputs], data: new Float32Array(rows * inputs).fill(1) }
    const found = (await session.run({ x: ones })).get('sums') ?? new Float32Array()
    const exact = found.length === rows * outputs && found.every((sum) => Math.abs(sum - inputs * 127) < 1)
    return exact ? 127 : 63
  } finally {
    await session.release()
  }
}
