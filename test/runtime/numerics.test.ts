// The int8 numerics, compared with an independent implementation in single precision.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { readBackbone } from '../../src/backbones/backbone.js'
import { Engine } from '../../src/engine/engine.js'
import { bytesOf, GraphBuilder } from '../../src/graph/graph.js'
import { serializeOnnx } from '../../src/graph/onnx.js'
import { integerProduct } from '../../src/graph/operators.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { largestExactWeight } from '../../src/runtime/int8-range.js'
import { logitsOf } from '../../src/tasks/heads.js'
import { distance, engineRow, golden, headOf, loadPrototype, modelDir, taskBytes } from '../material.js'

const prototype = loadPrototype()

describe('the engine in int8', () => {
  let engine: Engine
  before(async () => {
    const backbone = await readBackbone(modelDir)
    engine = await Engine.start({ backbone, prototype, provider: 'auto', numerics: 'int8', slots: 16, threads: 2 })
  })
  after(() => engine.close())

  test('runs on the CPU and reports why', () => {
    assert.deepEqual(engine.choice, {
      provider: 'cpu',
      numerics: 'int8',
      reason: 'only cpu supports int8',
    })
  })

  test('gives logits near those of single precision, and the same labels except near the boundary', async () => {
    let labels = 0
    let same = 0
    for (const [name, rows] of Object.entries(golden)) {
      const task = readTaskFile(taskBytes(name))
      const { rows: results } = await engine.run(rows.map((row) => engineRow(row, task, prototype)))
      const spread = Math.max(...rows.flatMap(({ logits }) => logits.map(Math.abs)))
      for (const [at, { logits, text }] of rows.entries()) {
        const own = logitsOf(headOf(task), results[at]?.pooled ?? new Float32Array())
        const error = Math.max(...logits.map((logit, c) => Math.abs(logit - (own[c] ?? Number.NaN))))
        assert.ok(error < 0.15 * spread, `${name}: ${text}: ${own} against ${logits}`)
        if (logits.length === 1) continue
        labels++
        if (argmax(own) === argmax(logits)) same++
      }
    }
    assert.ok(labels >= 100)
    assert.ok(same / labels > 0.97, `${same} of ${labels} labels are the same`)
  })

  test('gives a text the same vector alone and among other texts', async () => {
    const rows = Object.entries(golden).flatMap(([name, rows]) => {
      const task = readTaskFile(taskBytes(name))
      return rows.slice(0, 2).map((row) => engineRow(row, task, prototype))
    })
    const { rows: together } = await engine.run(rows)
    for (const [at, row] of rows.entries()) {
      const [alone] = (await engine.run([row])).rows
      const inBatch = together[at] ?? assert.fail(`no result for row ${at}`)
      assert.ok(distance(alone?.pooled ?? [], inBatch.pooled) < 1e-5)
    }
  })
})

test('integer sums are exact with the largest exact weight', async () => {
  const largest = await largestExactWeight()
  const g = new GraphBuilder()
  const weight = Int8Array.from({ length: 96 * 40 }, (_, i) => (i % 7 === 0 ? -largest : largest))
  const product = integerProduct(
    g,
    {
      integers: g.input('x', 'uint8', [5, 96]),
      scale: g.scalar(1),
      zero: g.constant('zero', 'uint8', [], Uint8Array.of(0)),
    },
    g.constant('weight', 'int8', [96, 40], bytesOf(weight)),
    g.constant('scales', 'float32', [40], bytesOf(new Float32Array(40).fill(1))),
    g.constant('bias', 'float32', [40], bytesOf(Float32Array.from({ length: 40 }, (_, o) => o))),
  )
  const session = await InferenceSession.create(serializeOnnx(g.build([g.output('product', product)])))
  const data = Uint8Array.from({ length: 5 * 96 }, (_, i) => (i % 3 === 0 ? 255 : (i * 37) % 256))
  const found = (await session.run({ x: new Tensor('uint8', data, [5, 96]) })).product?.data ?? []
  await session.release()
  const expected = Array.from({ length: 5 * 40 }, (_, at) => {
    const [row, o] = [Math.floor(at / 40), at % 40]
    let sum = o
    for (let i = 0; i < 96; i++) sum += (data[row * 96 + i] ?? 0) * (weight[i * 40 + o] ?? 0)
    return sum
  })
  assert.deepEqual(Array.from(found, Number), expected)
})

test('providers other than the CPU reject int8', async () => {
  const backbone = await readBackbone(modelDir)
  await assert.rejects(
    Engine.start({ backbone, prototype, provider: 'webgpu', numerics: 'int8', slots: 1, threads: 1 }),
    {
      code: 'invalid_setting',
      message: /provider "webgpu" does not support numerics int8; expected numerics float32, or provider cpu/,
    },
  )
})

const argmax = (values: ArrayLike<number>): number => {
  const list = Array.from(values)
  return list.indexOf(Math.max(...list))
}
