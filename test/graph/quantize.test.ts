// Dense layers in 8-bit integers. The expected values were computed with NumPy (test/fixtures/int8/make.py).

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { floatsOf } from '../../src/backbones/weights.js'
import { bytesOf, type Graph, GraphBuilder } from '../../src/graph/graph.js'
import { linear } from '../../src/graph/operators.js'
import { type ChannelRanges, rangeName, withChannelRanges } from '../../src/graph/passes/dense-inputs.js'
import { quantize, quantizeDense } from '../../src/graph/passes/quantize.js'
import { GraphSession } from '../../src/runtime/graph-session.js'
import { distance, root } from '../material.js'

const ones = (count: number) => new Float32Array(count).fill(1)

test('integers times scales are the transposed weights times the factors, within half a step', () => {
  const weights = fc.float32Array({ minLength: 12, maxLength: 12, noNaN: true, min: -8, max: 8 })
  const factors = Float32Array.of(1, 4, 0.25, 2)
  fc.assert(
    fc.property(weights, fc.constantFrom(127, 63), (weight, largest) => {
      const { values, scales } = quantize(weight, 3, largest, factors, ones(4))
      for (let o = 0; o < 3; o++)
        for (let i = 0; i < 4; i++) {
          const integer = values[i * 3 + o] ?? Number.NaN
          const scale = scales[o] ?? Number.NaN
          const exact = (weight[o * 4 + i] ?? 0) * (factors[i] ?? 0)
          assert.ok(Math.abs(integer) <= largest)
          assert.ok(Math.abs(integer * scale - exact) <= scale * 0.5001)
        }
    }),
  )
})

test('the largest weight of each output becomes the largest integer', () => {
  const { values, scales } = quantize(Float32Array.of(0.5, -1, 0, 0, 100, 25), 3, 127, ones(2), ones(2))
  assert.deepEqual([...values], [64, 0, 127, -127, 0, 32])
  assert.deepEqual([...scales], [Math.fround(1 / 127), 1, Math.fround(100 / 127)])
})

interface Layer {
  readonly calibration: readonly (readonly number[])[]
  readonly x: readonly (readonly number[])[]
  readonly weight: readonly (readonly number[])[]
  readonly bias: readonly number[]
  readonly exact: readonly (readonly number[])[]
  readonly expected: readonly (readonly number[])[]
}

const layers = JSON.parse(readFileSync(join(root, 'test/fixtures/int8/layers.json'), 'utf8')) as {
  readonly smoothed: Layer
  readonly by_row: Layer
}

function graphOf({ weight, bias }: Layer): Graph {
  const g = new GraphBuilder()
  const [O, I] = [weight.length, weight[0]?.length ?? 0]
  const stored = g.constant('weight', 'float32', [O, I], bytesOf(Float32Array.from(weight.flat())))
  const x = g.input('x', 'float32', ['T', I])
  return g.build([
    g.output('y', linear(g, x, stored, g.constant('bias', 'float32', [O], bytesOf(Float32Array.from(bias))))),
  ])
}

async function run(graph: Graph, rows: readonly (readonly number[])[]): Promise<Map<string, Float32Array>> {
  const session = await GraphSession.open(graph, { threads: 1 })
  const shape = [rows.length, rows[0]?.length ?? 0]
  const found = await session.run({ x: { shape, data: Float32Array.from(rows.flat()) } })
  await session.release()
  return found
}

async function calibrated(layer: Layer): Promise<ChannelRanges> {
  const found = await run(withChannelRanges(graphOf(layer)), layer.calibration)
  const part = (name: keyof ChannelRanges) => found.get(rangeName(name, 'x')) ?? assert.fail(`no ${name}`)
  return { low: part('low'), high: part('high'), mean: part('mean') }
}

const quantized = (layer: Layer, range: ChannelRanges): Graph =>
  quantizeDense({ largest: 127, read: floatsOf(''), ranges: new Map([['x', range]]) })(graphOf(layer))

for (const [name, what] of [
  ['smoothed', 'more outputs than inputs divides the channels by the roots of their peaks'],
  ['by_row', 'fewer outputs than inputs has a scale for each row'],
] as const)
  describe(`a dense layer with ${what}`, () => {
    const layer = layers[name]

    test('as NumPy computes it', async () => {
      const found = (await run(quantized(layer, await calibrated(layer)), layer.x)).get('y') ?? []
      assert.ok(distance(found, layer.expected.flat()) < 1e-4, `${[...found]}`)
    })

    test('without a dependence of a row on the other rows', async () => {
      const graph = quantized(layer, await calibrated(layer))
      const together = Array.from((await run(graph, layer.x)).get('y') ?? [])
      const alone = await Promise.all(layer.x.map(async (row) => Array.from((await run(graph, [row])).get('y') ?? [])))
      assert.deepEqual(alone.flat(), together)
    })
  })

test('a row of zeros gives the bias, without the mean error of the weights', async () => {
  const layer = layers.by_row
  const range = { ...(await calibrated(layer)), mean: new Float32Array(8) }
  const found = (await run(quantized(layer, range), [new Array<number>(8).fill(0)])).get('y') ?? []
  assert.deepEqual([...found], layer.bias)
})

test('a layer whose input has no ranges stays as it is', async () => {
  const layer = layers.smoothed
  const graph = quantizeDense({ largest: 127, read: floatsOf(''), ranges: new Map() })(graphOf(layer))
  const found = (await run(graph, layer.x)).get('y') ?? []
  assert.ok(distance(found, layer.exact.flat()) < 1e-4)
})
