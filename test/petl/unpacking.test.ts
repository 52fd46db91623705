import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { GraphBuilder } from '../../src/graph/graph.js'
import { serializeOnnx } from '../../src/graph/onnx.js'
import { entryTable, maskableWeights, maskedWeights } from '../../src/petl/unpacking.js'

describe('mask bits in the graph', () => {
  test('mask each row’s weights, where tensors begin and end within a byte too', async () => {
    const g = new GraphBuilder()
    const rows = 3
    const tensors = [
      { name: 'down', shape: [3, 5] },
      { name: 'up', shape: [5, 4] },
      { name: 'last', shape: [2, 8] },
    ]
    let firstBit = 0
    const weights = tensors.map(({ shape: [height = 0, width = 0] }, index) => {
      const values = Float32Array.from({ length: height * width }, (_, i) => index + i + 1)
      const at = firstBit
      firstBit += values.length
      return { values, at }
    })
    const masks = g.input('masks', 'uint16', ['B', 1, 7])
    const all = maskableWeights(
      g,
      weights.map(({ values }) => values),
      7,
    )
    const masked = maskedWeights(g, entryTable(g), masks, all, tensors)
    assert.deepEqual(
      masked.map(([name, { shape }]) => [name, ...shape]),
      tensors.map(({ name, shape }) => [name, 'B', ...shape]),
    )
    const outputs = masked.map(([name, value]) => g.output(name, value))
    const session = await InferenceSession.create(serializeOnnx(g.build(outputs)))
    const words = Uint16Array.from({ length: rows * 7 }, (_, i) => (i * 25_189 + 41) & 0xffff)
    const results = await session.run({ masks: new Tensor('uint16', words, [rows, 1, 7]) })
    for (const [index, { values, at }] of weights.entries()) {
      const expected = Array.from({ length: rows * values.length }, (_, i) => {
        const row = Math.floor(i / values.length)
        const bit = at + (i % values.length)
        const word = words[row * 7 + (bit >> 3)] ?? 0
        const entry = ((word >> (bit & 7)) & 1) + ((word >> (8 + (bit & 7))) & 1)
        return entry * (values[i % values.length] ?? 0)
      })
      assert.deepEqual(Array.from(results[outputs[index]?.name ?? '']?.data as Float32Array), expected)
    }
    await session.release()
  })
})
