// Masked weights in a graph, run by onnxruntime.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { bytesOf, GraphBuilder } from '../../src/graph/graph.js'
import { serializeOnnx } from '../../src/graph/onnx.js'
import { entryTable, maskedWeight } from '../../src/petl/unpacking.js'

describe('mask bits in the graph', () => {
  test('mask the weights of each row, also for tensors that begin and end within a byte', async () => {
    const g = new GraphBuilder()
    const rows = 3
    const shapes = [
      [3, 5],
      [5, 4],
      [2, 8],
    ]
    const masks = g.input('masks', 'int32', ['B', 7])
    const table = entryTable(g)
    let firstBit = 0
    const weights = shapes.map((shape, index) => {
      const size = (shape[0] ?? 0) * (shape[1] ?? 0)
      const values = Float32Array.from({ length: size }, (_, i) => index + i + 1)
      const weight = g.constant(`weight_${index}`, 'float32', shape, bytesOf(values))
      const output = g.output(`masked_${index}`, maskedWeight(g, table, masks, weight, firstBit))
      const at = firstBit
      firstBit += size
      return { values, output, at }
    })
    const session = await InferenceSession.create(serializeOnnx(g.build(weights.map(({ output }) => output))))
    const words = Int32Array.from({ length: rows * 7 }, (_, i) => (i * 25_189 + 41) & 0xffff)
    const results = await session.run({ masks: new Tensor('int32', words, [rows, 7]) })
    for (const { values, output, at } of weights) {
      const expected = Array.from({ length: rows * values.length }, (_, i) => {
        const row = Math.floor(i / values.length)
        const bit = at + (i % values.length)
        const word = words[row * 7 + (bit >> 3)] ?? 0
        const entry = ((word >> (bit & 7)) & 1) + ((word >> (8 + (bit & 7))) & 1)
        return entry * (values[i % values.length] ?? 0)
      })
      assert.deepEqual(Array.from(results[output.name]?.data as Float32Array), expected)
    }
    await session.release()
  })
})
