import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { batchesByTokens, shuffledBatches } from '../../src/learn/batches.js'
import { countDuplicates, type ExampleSet, type Subset, sample, split, wholeSet } from '../../src/learn/example-set.js'
import type { LabelSpace } from '../../src/learn/label-space.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { Random } from '../../src/learn/random.js'
import { trainedHead } from '../../src/learn/tensors.js'
import { TokenTable } from '../../src/learn/token-table.js'

/** Rows of the given lengths; row r consists of tokens r. */
function dataOf(lengths: readonly number[], label: (row: number) => number = () => 0, vocabulary = 70_000): ExampleSet {
  const tokens = new TokenTable(vocabulary)
  for (const [row, length] of lengths.entries())
    tokens.add(new Array<number>(length).fill(row), new Array<number>(length).fill(row & 1))
  return { tokens, textsPerExample: 1, targets: Float32Array.from(lengths, (_, row) => label(row)), width: 1 }
}

const lengths = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 300 })
const sorted = (rows: Iterable<number>) => [...rows].sort((a, b) => a - b)
const everyRow = (count: number) => [...Array(count).keys()]

test('a token table gives back every row', () => {
  fc.assert(
    fc.property(lengths, fc.constantFrom(30_000, 70_000), (all, vocabulary) => {
      const { tokens } = dataOf(all, undefined, vocabulary)
      assert.equal(tokens.texts, all.length)
      for (const [row, length] of all.entries()) {
        assert.equal(tokens.length(row), length)
        assert.deepEqual([...tokens.span(row).inputIds], new Array(length).fill(row))
        assert.deepEqual([...tokens.span(row).tokenTypeIds], new Array(length).fill(row & 1))
      }
    }),
    { numRuns: 20 },
  )
})

test('an epoch has every row once, in batches of the size asked for', () => {
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1, max: 20 }), fc.integer(), (all, batchRows, seed) => {
      const batches = shuffledBatches(wholeSet(dataOf(all)), batchRows, new Random(seed, 'test'))
      assert.deepEqual(sorted(batches.flatMap((batch) => [...batch])), everyRow(all.length))
      assert.equal(batches.length, Math.ceil(all.length / batchRows))
      assert.ok(batches.every((batch) => batch.length <= batchRows))
    }),
  )
})

test('batches by tokens have every row once, and are as few and as even as the bound allows', () => {
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1, max: 100 }), (all, maxTokens) => {
      const batches = batchesByTokens(wholeSet(dataOf(all)), maxTokens)
      assert.deepEqual(sorted(batches.flatMap((batch) => [...batch])), everyRow(all.length))
      const tokens = (rows: Iterable<number>) => [...rows].reduce((sum, row) => sum + (all[row] ?? 0), 0)
      assert.ok(batches.length <= Math.ceil(tokens(everyRow(all.length)) / maxTokens))
      assert.ok(batches.every((batch) => batch.length > 0 && tokens(batch.subarray(0, -1)) <= maxTokens))
    }),
  )
})

test('a split keeps the share of each label, and a row of each to learn from', () => {
  const space: LabelSpace = { problem: 'single_label_classification', labels: ['a', 'b', 'c'] }
  const label = (row: number) => (row < 100 ? 0 : row < 150 ? 1 : 2)
  const data = dataOf(new Array(151).fill(3), label)
  const { train, dev } = split(data, space, 0.2, new Random(1, 'test'))
  assert.deepEqual(sorted([...train.examples, ...dev.examples]), everyRow(151))
  const count = (part: Subset, wanted: number) => part.examples.filter((row) => label(row) === wanted).length
  assert.deepEqual([count(dev, 0), count(dev, 1), count(dev, 2)], [20, 10, 0])
})

test('a sample has as many different rows as asked for', () => {
  const part = sample(wholeSet(dataOf(new Array(50).fill(1))), 20, new Random(1, 'test'))
  assert.equal(new Set(part.examples).size, 20)
})

test('rows of the dev part that were learned from are counted', () => {
  const data = dataOf([3, 3, 3])
  data.tokens.add([1, 1, 1], [1, 1, 1])
  data.tokens.add([1, 1, 1], [0, 0, 0])
  const part = (...rows: number[]): Subset => ({ set: data, examples: Int32Array.from(rows) })
  assert.equal(countDuplicates(part(0, 1, 2), part(3, 4)), 1)
})

test('the same seed draws the same, another seed or purpose does not', () => {
  const draw = (seed: number, purpose: string) => [...new Random(seed, purpose).order(50)]
  assert.deepEqual(draw(1, 'a'), draw(1, 'a'))
  assert.notDeepEqual(draw(1, 'a'), draw(2, 'a'))
  assert.notDeepEqual(draw(1, 'a'), draw(1, 'b'))
  const values = new Random(7, 'normal').normal(20_000, 2)
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  assert.ok(Math.abs(mean) < 0.06 && Math.abs(variance - 4) < 0.2, `mean ${mean}, variance ${variance}`)
})

test('a regression is learned in standard units and served in those of its labels', () => {
  const space: LabelSpace = { problem: 'regression', labels: [], spread: { mean: 3, deviation: 2 } }
  assert.deepEqual([...problemTraits.regression.lossTargets(space, Float32Array.of(1, 3, 7))], [-1, 0, 2])
  const tensor = (name: string, shape: number[], ...values: number[]) =>
    ({ name, shape, kind: 'weight', training: 'learned', values: Float32Array.from(values) }) as const
  const { output } = trainedHead([tensor('head.weight', [1, 2], 0.5, -1), tensor('head.bias', [1], 0.25)], space)
  assert.deepEqual([...output.weight, ...output.bias], [1, -2, 3.5])
})
