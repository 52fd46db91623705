import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { LabelSpace } from '../../src/data/label-space.js'
import { batchesByTokens, shuffledBatches } from '../../src/learn/batches.js'
import { countDuplicates, type ExampleSet, type Subset, sample, split, wholeSet } from '../../src/learn/example-set.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { Random } from '../../src/learn/random.js'
import { trainedHead } from '../../src/learn/tensors.js'
import { TokenTable } from '../../src/learn/token-table.js'

/** Examples of the given lengths in tokens. Example i consists of the token i, repeated. */
function setOf(
  lengths: readonly number[],
  label: (example: number) => number = () => 0,
  vocabulary = 70_000,
): ExampleSet {
  const tokens = new TokenTable(vocabulary)
  for (const [example, length] of lengths.entries())
    tokens.add(new Array<number>(length).fill(example), new Array<number>(length).fill(example & 1))
  return { tokens, textsPerExample: 1, targets: Float32Array.from(lengths, (_, example) => label(example)), width: 1 }
}

const lengths = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 300 })
const sorted = (numbers: Iterable<number>) => [...numbers].sort((a, b) => a - b)
const everyIndex = (count: number) => [...Array(count).keys()]

test('a token table returns the texts that were added', () => {
  fc.assert(
    fc.property(lengths, fc.constantFrom(30_000, 70_000), (all, vocabulary) => {
      const { tokens } = setOf(all, undefined, vocabulary)
      assert.equal(tokens.texts, all.length)
      for (const [text, length] of all.entries()) {
        assert.equal(tokens.length(text), length)
        assert.deepEqual([...tokens.span(text).inputIds], new Array(length).fill(text))
        assert.deepEqual([...tokens.span(text).tokenTypeIds], new Array(length).fill(text & 1))
      }
    }),
    { numRuns: 20 },
  )
})

test('an epoch has every example once, in batches of the requested size', () => {
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1, max: 20 }), fc.integer(), (all, batchSize, seed) => {
      const batches = shuffledBatches(wholeSet(setOf(all)), batchSize, new Random(seed, 'test'))
      assert.deepEqual(sorted(batches.flatMap((batch) => [...batch])), everyIndex(all.length))
      assert.equal(batches.length, Math.ceil(all.length / batchSize))
      assert.ok(batches.every((batch) => batch.length <= batchSize))
    }),
  )
})

test('batches by tokens have every example once, and are as few and as even as the limit allows', () => {
  fc.assert(
    fc.property(lengths, fc.integer({ min: 1, max: 100 }), (all, maxTokens) => {
      const batches = batchesByTokens(wholeSet(setOf(all)), maxTokens)
      assert.deepEqual(sorted(batches.flatMap((batch) => [...batch])), everyIndex(all.length))
      const tokens = (examples: Iterable<number>) =>
        [...examples].reduce((sum, example) => sum + (all[example] ?? 0), 0)
      assert.ok(batches.length <= Math.ceil(tokens(everyIndex(all.length)) / maxTokens))
      assert.ok(batches.every((batch) => batch.length > 0 && tokens(batch.subarray(0, -1)) <= maxTokens))
    }),
  )
})

test('a split gives each label the same dev share, and keeps a training example of each', () => {
  const space: LabelSpace = { problem: 'single_label_classification', labels: ['a', 'b', 'c'] }
  const label = (example: number) => (example < 100 ? 0 : example < 150 ? 1 : 2)
  const data = setOf(new Array(151).fill(3), label)
  const { train, dev } = split(data, space, 0.2, new Random(1, 'test'))
  assert.deepEqual(sorted([...train.examples, ...dev.examples]), everyIndex(151))
  const count = (subset: Subset, wanted: number) =>
    subset.examples.filter((example) => label(example) === wanted).length
  assert.deepEqual([count(dev, 0), count(dev, 1), count(dev, 2)], [20, 10, 0])
})

test('a split of labels with few examples takes one each of the most frequent labels', () => {
  const space: LabelSpace = { problem: 'single_label_classification', labels: ['a', 'b', 'c', 'd', 'e'] }
  const labels = [1, 3, 2, 3, 2].flatMap((count, label) => new Array<number>(count).fill(label))
  const data = setOf(new Array(labels.length).fill(3), (example) => labels[example] ?? 0)
  // 0.15 · 3 rounds to 0, and 0.15 · 11 to 2.
  const { train, dev } = split(data, space, 0.15, new Random(1, 'test'))
  assert.deepEqual(sorted([...train.examples, ...dev.examples]), everyIndex(labels.length))
  assert.deepEqual(sorted(Array.from(dev.examples, (example) => labels[example] ?? 0)), [1, 3])
})

test('a sample has the requested number of different examples', () => {
  const drawn = sample(wholeSet(setOf(new Array(50).fill(1))), 20, new Random(1, 'test'))
  assert.equal(new Set(drawn.examples).size, 20)
})

test('counts the training examples that are also in the dev part', () => {
  const data = setOf([3, 3, 3])
  data.tokens.add([1, 1, 1], [1, 1, 1])
  data.tokens.add([1, 1, 1], [0, 0, 0])
  const subset = (...examples: number[]): Subset => ({ set: data, examples: Int32Array.from(examples) })
  assert.equal(countDuplicates(subset(0, 1, 2), subset(3, 4)), 1)
})

test('the same seed and purpose give the same numbers, others do not', () => {
  const draw = (seed: number, purpose: string) => [...new Random(seed, purpose).order(50)]
  assert.deepEqual(draw(1, 'a'), draw(1, 'a'))
  assert.notDeepEqual(draw(1, 'a'), draw(2, 'a'))
  assert.notDeepEqual(draw(1, 'a'), draw(1, 'b'))
  const values = new Random(7, 'normal').normal(20_000, 2)
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length
  assert.ok(Math.abs(mean) < 0.06 && Math.abs(variance - 4) < 0.2, `mean ${mean}, variance ${variance}`)
})

test('a regression is trained on standardised labels and served in the units of its labels', () => {
  const space: LabelSpace = { problem: 'regression', labels: [], spread: { mean: 3, deviation: 2 } }
  const targets = [1, 3, 7].flatMap((label) =>
    Array.from(problemTraits.regression.targets(space, { place: 'x', text: 'x', label })),
  )
  assert.deepEqual(targets, [-1, 0, 2])
  assert.deepEqual([...problemTraits.regression.labelsOf(space, Float32Array.from(targets))], [1, 3, 7])
  const tensor = (name: string, shape: number[], ...values: number[]) =>
    ({ name, shape, kind: 'weight', training: 'trained', values: Float32Array.from(values) }) as const
  const { output } = trainedHead([tensor('head.weight', [1, 2], 0.5, -1), tensor('head.bias', [1], 0.25)], space)
  // The mean is the offset of the task, not part of the head.
  assert.deepEqual([...output.weight, ...output.bias], [1, -2, 0.5])
})
