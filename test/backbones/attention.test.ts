// Compares attention with the formula in float64 loops: with a bias for each head, with rotary positions and a window, and
// with a prefix. Compares the buckets of the relative position bias with those of MPNet in `transformers`.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { attention } from '../../src/backbones/layers/attention.js'
import { windowBias } from '../../src/backbones/layers/local-window.js'
import { bucketOf, relativeBias } from '../../src/backbones/layers/relative-bias.js'
import { rotaryFrequencies, rotation } from '../../src/backbones/layers/rotary.js'
import { GraphBuilder } from '../../src/graph/graph.js'
import { add, reshape } from '../../src/graph/operators.js'
import { packingInputs } from '../../src/graph/packing.js'
import { GraphSession } from '../../src/runtime/graph-session.js'
import { packRows } from '../../src/runtime/packed-rows.js'
import { distance } from '../material.js'

const [heads, size, prefixLength, maxTokens, buckets] = [2, 4, 2, 9, 8]
/** Of local attention with rotary positions. */
const [reach, theta] = [2, 7]
const H = heads * size
const lengths = [4, 1, 9]
const T = lengths.reduce((sum, length) => sum + length)
const B = lengths.length

const numbers = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => 1.3 * Math.sin(1.7 * i + 2.3 * seed + 0.4))

const [query, key, value] = [numbers(T * H, 1), numbers(T * H, 2), numbers(T * H, 3)]
const [keys, values] = [numbers(B * prefixLength * H, 4), numbers(B * prefixLength * H, 5)]
const table = numbers(buckets * heads, 6)

const row = (array: Float32Array, at: number, head: number) =>
  Array.from(array.subarray(at * H + head * size, at * H + (head + 1) * size))
const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * (b[i] ?? Number.NaN), 0)

type Kind = 'relative' | 'local'

/** A head of a query or key at a position, rotated with complex numbers: element i is the real part of pair i. */
function rotated(head: number[], position: number): number[] {
  const pairs = Array.from({ length: size / 2 }, (_, i) => {
    const [real, imaginary] = [head[i] ?? Number.NaN, head[i + size / 2] ?? Number.NaN]
    const [length, angle] = [Math.hypot(real, imaginary), Math.atan2(imaginary, real)]
    return { length, angle: angle + position / theta ** ((2 * i) / size) }
  })
  return [
    ...pairs.map(({ length, angle }) => length * Math.cos(angle)),
    ...pairs.map(({ length, angle }) => length * Math.sin(angle)),
  ]
}

/** [T,H] */
function expected(kind: Kind, withPrefix: boolean): number[] {
  const placed = (head: number[], position: number) => (kind === 'local' ? rotated(head, position) : head)
  const result: number[] = []
  let first = 0
  for (const [b, length] of lengths.entries()) {
    for (let q = 0; q < length; q++)
      for (let head = 0; head < heads; head++) {
        const own = Array.from({ length }, (_, k) => ({
          key: placed(row(key, first + k, head), k),
          value: row(value, first + k, head),
          bias: kind === 'relative' ? (table[bucketOf(k - q, buckets) * heads + head] ?? Number.NaN) : 0,
          distance: Math.abs(k - q),
        })).filter(({ distance }) => kind === 'relative' || distance <= reach)
        const before = Array.from({ length: withPrefix ? prefixLength : 0 }, (_, p) => ({
          key: row(keys, b * prefixLength + p, head),
          value: row(values, b * prefixLength + p, head),
          bias: 0,
        }))
        // Keys of a prefix are not rotated, as if they were at position 0.
        const ownQuery = placed(row(query, first + q, head), q)
        const attended = [...before, ...own].map(({ key, value, bias }) => {
          return { value, power: Math.exp(dot(ownQuery, key) / Math.sqrt(size) + bias) }
        })
        const total = attended.reduce((sum, { power }) => sum + power, 0)
        for (let i = 0; i < size; i++)
          result.push(attended.reduce((sum, { value, power }) => sum + (power / total) * (value[i] ?? 0), 0))
      }
    first += length
  }
  return result
}

const cases = (['relative', 'local'] as const).flatMap((kind) => [
  { kind, withPrefix: false },
  { kind, withPrefix: true },
])
const names: Readonly<Record<Kind, string>> = {
  relative: 'attention with relative positions',
  local: 'local attention with rotary positions',
}
for (const { kind, withPrefix } of cases)
  test(`${names[kind]}${withPrefix ? ' and a prefix' : ''} agrees with the formula`, async () => {
    const g = new GraphBuilder()
    const packing = packingInputs(g)
    const input = (name: string) => g.input(name, 'float32', ['T', H])
    const positions = g.input('position_ids', 'int32', ['T'])
    const keyBias = g.input('key_bias', 'float32', ['B', 1, 1, 'S'])
    const biases =
      kind === 'relative'
        ? relativeBias(g, g.input('table', 'float32', [buckets, heads]), positions, packing, maxTokens)
        : windowBias(g, reach, positions, packing, maxTokens)
    const frequencies = rotaryFrequencies(theta, size)
    const before = () => {
      const [keys, values] = ['keys', 'values'].map((name) => g.input(name, 'float32', ['B', prefixLength, H]))
      return keys && values ? { prefix: { keys, values } } : {}
    }
    const y = attention(
      g,
      { query: input('query'), key: input('key'), value: input('value') },
      {
        heads,
        bias: add(g, biases, keyBias),
        packing,
        ...(kind === 'local' && { rotation: rotation(g, 'rotary', frequencies, positions, maxTokens) }),
        ...(withPrefix && before()),
      },
    )
    const session = await GraphSession.open(g.build([g.output('y', reshape(g, y, [-1, H]))]), { threads: 1 })
    const rows = packRows(
      lengths.map((length) => {
        return { inputIds: new Int32Array(length), tokenTypeIds: new Int32Array(length), pooling: 'mean' }
      }),
    )
    const S = rows.longest
    const found = await session.run({
      padded_index: { shape: [B, S], data: rows.paddedIndex },
      packed_index: { shape: [T], data: rows.packedIndex },
      position_ids: { shape: [T], data: rows.positionIds },
      key_bias: { shape: [B, 1, 1, S], data: rows.keyBias },
      ...(kind === 'relative' && { table: { shape: [buckets, heads], data: table } }),
      query: { shape: [T, H], data: query },
      key: { shape: [T, H], data: key },
      value: { shape: [T, H], data: value },
      ...(withPrefix && {
        keys: { shape: [B, prefixLength, H], data: keys },
        values: { shape: [B, prefixLength, H], data: values },
      }),
    })
    await session.release()
    assert.ok(distance(expected(kind, withPrefix), found.get('y') ?? []) < 1e-5)
  })

test('distances fall into the same 32 buckets as in transformers', () => {
  // The first distance of each bucket for keys before the query. The buckets for keys after it are 16 higher.
  const begins = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
  const bucket = (steps: number) => begins.findLastIndex((begin) => begin <= steps)
  for (let steps = 1; steps < 600; steps++) {
    assert.equal(bucketOf(-steps, 32), bucket(steps))
    assert.equal(bucketOf(steps, 32), 16 + bucket(steps))
  }
  assert.equal(bucketOf(0, 32), 0)
})
