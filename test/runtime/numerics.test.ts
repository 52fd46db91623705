// The int8 numerics, compared with an independent implementation in single precision.

import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { readBackbone } from '../../src/backbones/backbone.js'
import { Engine } from '../../src/engine/engine.js'
import { bytesOf, GraphBuilder } from '../../src/graph/graph.js'
import { quantizedLinear } from '../../src/graph/operators.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { GraphSession } from '../../src/runtime/graph-session.js'
import { largestExactWeight } from '../../src/runtime/int8-range.js'
import { logitsOf } from '../../src/tasks/heads.js'
import { engineRow, golden, headOf, loadPrototype, modelDir, taskBytes } from '../material.js'

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
        assert.ok(error < 0.35 * spread, `${name}: ${text}: ${own} against ${logits}`)
        if (logits.length === 1) continue
        labels++
        if (argmax(own) === argmax(logits)) same++
      }
    }
    assert.ok(labels >= 100)
    assert.ok(same / labels > 0.93, `${same} of ${labels} labels are the same`)
  })
})

test('integer sums are exact with the largest exact weight', async () => {
  const largest = await largestExactWeight()
  const g = new GraphBuilder()
  const weight = Int8Array.from({ length: 96 * 40 }, (_, i) => (i % 7 === 0 ? -largest : largest))
  const x = g.input('x', 'float32', [5, 96])
  const product = quantizedLinear(
    g,
    x,
    g.constant('weight', 'int8', [96, 40], bytesOf(weight)),
    g.constant('scales', 'float32', [40], bytesOf(new Float32Array(40).fill(1))),
    g.constant('bias', 'float32', [40], bytesOf(Float32Array.from({ length: 40 }, (_, o) => o))),
  )
  const session = await GraphSession.open(g.build([g.output('product', product)]), { threads: 1 })
  // Integers from 0 to 255, which the operator quantizes to themselves.
  const data = Float32Array.from({ length: 5 * 96 }, (_, i) => (i % 3 === 0 ? 255 : (i * 37) % 256))
  const found = (await session.run({ x: { shape: [5, 96], data } })).get('product') ?? []
  await session.release()
  const expected = Array.from({ length: 5 * 40 }, (_, at) => {
    const [row, o] = [Math.floor(at / 40), at % 40]
    let sum = o
    for (let i = 0; i < 96; i++) sum += (data[row * 96 + i] ?? 0) * (weight[i * 40 + o] ?? 0)
    return sum
  })
  expected.forEach((value, at) => {
    assert.ok(
      Math.abs(value - (found[at] ?? Number.NaN)) <= 1e-3 + 1e-6 * Math.abs(value),
      `${found[at]} at ${at}, not ${value}`,
    )
  })
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
