import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ExampleSet, Subset } from '../../src/learn/example-set.js'
import { Random } from '../../src/learn/random.js'
import { evaluateHeldOut, foldsOf, targetPlaces, validationOf } from '../../src/learn/validation.js'

/** A set whose example i has the label of that place. */
const setOf = (labels: readonly number[]): ExampleSet =>
  ({ tokens: { texts: labels.length }, textsPerExample: 1, targets: Float32Array.from(labels), width: 1 }) as never

const space = { problem: 'single_label_classification', labels: ['a', 'b', 'c'] } as const
const all = (set: ExampleSet): Subset => ({ set, examples: Int32Array.from(set.targets.keys()) })

test('every example is held out once, and every label is in all folds', () => {
  const labels = Array.from({ length: 31 }, (_, i) => (i < 20 ? 0 : i < 27 ? 1 : 2))
  const set = setOf(labels)
  const folds = foldsOf(all(set), space, 3, new Random(1, 'folds'))
  const heldOut = folds.flatMap((fold) => [...fold.heldOut.examples])
  assert.deepEqual(
    heldOut.toSorted((a, b) => a - b),
    labels.map((_, i) => i),
  )
  for (const { train, heldOut } of folds) {
    assert.equal(train.examples.length + heldOut.examples.length, 31)
    assert.ok([...heldOut.examples].every((example) => !train.examples.includes(example)))
    assert.deepEqual(new Set([...heldOut.examples].map((example) => labels[example])), new Set([0, 1, 2]))
  }
})

test('few examples are cross-validated, many are judged by the dev part', () => {
  const [few, many] = [setOf(Array(60).fill(0)), setOf(Array(600).fill(0))]
  const parts = (set: ExampleSet) => {
    const { examples } = all(set)
    return { space, train: { set, examples: examples.slice(0, -20) }, dev: { set, examples: examples.slice(-20) } }
  }
  const random = new Random(1, 'folds')
  const crossed = validationOf({ ...parts(few), metric: 'accuracy' }, random)
  assert.equal(crossed.train.examples.length, 60)
  assert.equal(crossed.folds.length, 5)
  const judged = validationOf({ ...parts(many), metric: 'accuracy' }, random)
  assert.equal(judged.folds.length, 1)
  assert.equal(judged.train.examples.length, 580)
  // A dev file is never trained on.
  const own = validationOf({ ...parts(few), dev: all(setOf([0, 1])), metric: 'accuracy' }, random)
  assert.equal(own.folds.length, 1)
})

test('outputs of all folds are evaluated in the order of the examples', () => {
  const set = setOf([0, 1, 2, 1, 0, 2, 2])
  const folds = foldsOf(all(set), space, 3, new Random(4, 'folds'))
  // The model of each fold is right, except about example 3.
  const outputs = folds.map(({ heldOut }) =>
    Float32Array.from(
      [...heldOut.examples].flatMap((example) => {
        const label = example === 3 ? 0 : (set.targets[example] ?? 0)
        return [0, 1, 2].map((other) => (other === label ? 1 : 0))
      }),
    ),
  )
  const calibration = { factor: 2, shifts: new Float64Array(3) }
  const evaluation = evaluateHeldOut(outputs, calibration, space, { train: all(set), folds })
  assert.deepEqual([...evaluation.predictions], [0, 1, 2, 0, 0, 2, 2])
  assert.deepEqual([...evaluation.actual], [0, 1, 2, 1, 0, 2, 2])
})

test('places of examples that a subset does not have are left out', () => {
  const set = setOf([0, 1, 2, 1])
  const subset = { set, examples: Int32Array.of(3, 1) }
  assert.deepEqual([...targetPlaces(subset, { examples: Int32Array.of(1, 2, 3) })], [1, 0])
})
