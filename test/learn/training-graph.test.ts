// Compares the losses and the gradients of a head with their formulas in float64.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { targetInputs } from '../../src/learn/batches.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { headGraph } from '../../src/learn/training-graph.js'
import type { ProblemType } from '../../src/petl/task.js'
import { GraphSession } from '../../src/runtime/graph-session.js'

const H = 3
const pooled = [
  [0.5, -1, 2],
  [1.5, 0.25, -0.5],
]

interface Case {
  readonly problem: ProblemType
  readonly weight: readonly (readonly number[])[]
  readonly targets: readonly (readonly number[])[]
  readonly loss: (logits: number[], targets: readonly number[]) => number
  /** d loss / d logits of one example. */
  readonly slope: (logits: number[], targets: readonly number[]) => number[]
}

const softmax = (logits: number[]) => {
  const powers = logits.map(Math.exp)
  const sum = powers.reduce((a, b) => a + b)
  return powers.map((power) => power / sum)
}
const sigmoid = (z: number) => 1 / (1 + Math.exp(-z))
const sum = (values: number[]) => values.reduce((a, b) => a + b, 0)
const two = [
  [0.1, 0.2, -0.3],
  [-0.4, 0.5, 0.6],
]

const cases: Case[] = [
  {
    problem: 'single_label_classification',
    weight: two,
    targets: [
      [0, 1],
      [1, 0],
    ],
    loss: (z, t) => -sum(softmax(z).map((p, c) => (t[c] ?? 0) * Math.log(p))),
    slope: (z, t) => softmax(z).map((p, c) => p - (t[c] ?? 0)),
  },
  {
    problem: 'multi_label_classification',
    weight: two,
    targets: [
      [1, 1],
      [0, 1],
    ],
    loss: (z, t) => -sum(z.map((x, c) => (t[c] ? Math.log(sigmoid(x)) : Math.log(1 - sigmoid(x))))) / z.length,
    slope: (z, t) => z.map((x, c) => (sigmoid(x) - (t[c] ?? 0)) / z.length),
  },
  {
    problem: 'regression',
    weight: [[0.3, -0.2, 0.1]],
    targets: [[2], [-1]],
    loss: ([z = 0], [t = 0]) => (z - t) ** 2,
    slope: ([z = 0], [t = 0]) => [2 * (z - t)],
  },
]

for (const { problem, weight, targets, loss, slope } of cases)
  test(`loss and gradients of a ${problem} follow their formulas`, async () => {
    const C = weight.length
    const bias = weight.map((_, c) => 0.1 * (c + 1))
    const logits = pooled.map((row) => weight.map((w, c) => sum(w.map((x, h) => x * (row[h] ?? 0))) + (bias[c] ?? 0)))
    const count = pooled.length
    const session = await GraphSession.open(headGraph(H, 'linear', problemTraits[problem].loss), { threads: 1 })
    const found = await session.run({
      vectors: { shape: [count, H], data: Float32Array.from(pooled.flat()) },
      'head.weight': { shape: [C, H], data: Float32Array.from(weight.flat()) },
      'head.bias': { shape: [C], data: Float32Array.from(bias) },
      ...targetInputs(
        Float32Array.from(targets.flat()),
        new Float32Array(count).fill(problemTraits[problem].loss.weight(count, C)),
      ),
    })
    await session.release()
    const slopes = logits.map((z, b) => slope(z, targets[b] ?? []).map((value) => value / count))
    const close = (name: string, expected: number[]) => {
      const values = found.get(name) ?? assert.fail(`no output ${name}`)
      assert.equal(values.length, expected.length)
      for (const [i, value] of expected.entries())
        assert.ok(Math.abs((values[i] ?? Number.NaN) - value) < 1e-5, `${name}: ${values} against ${expected}`)
    }
    close('logits', logits.flat())
    close('loss', [sum(logits.map((z, b) => loss(z, targets[b] ?? []))) / count])
    close(
      'head.bias.grad',
      bias.map((_, c) => sum(slopes.map((row) => row[c] ?? 0))),
    )
    close(
      'head.weight.grad',
      weight.flatMap((_, c) =>
        Array.from({ length: H }, (_, h) => sum(slopes.map((row, b) => (row[c] ?? 0) * (pooled[b]?.[h] ?? 0)))),
      ),
    )
  })
