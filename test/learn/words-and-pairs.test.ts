// Words and pairs of texts as what is learned from: where their tokens are, what their loss is, and its slope.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import {
  exampleTokens,
  labelCount,
  poolInputs,
  targetInputs,
  targetWeights,
  textInputs,
  wordInputs,
} from '../../src/learn/batches.js'
import { evaluationOf } from '../../src/learn/evaluation.js'
import {
  countDuplicates,
  type EncodedExample,
  encodedExamples,
  exampleCount,
  type Subset,
  wholeSet,
} from '../../src/learn/example-set.js'
import { defaultColumns } from '../../src/learn/examples.js'
import { type LabelSpace, outputCount } from '../../src/learn/label-space.js'
import { loadExampleSet } from '../../src/learn/load-example-set.js'
import { loadModel } from '../../src/learn/model.js'
import { type ModulePlan, moduleParameters } from '../../src/learn/plan.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { Random } from '../../src/learn/random.js'
import { initialHead, initialModule } from '../../src/learn/tensors.js'
import { maxRunTokens, Trainer } from '../../src/learn/trainer.js'
import { trainingGraph } from '../../src/learn/training-graph.js'
import { wordsBeginningIn } from '../../src/learn/word-spans.js'
import { noToken } from '../../src/learn/word-table.js'
import type { ProblemType } from '../../src/petl/task.js'
import { GraphSession } from '../../src/runtime/graph-session.js'
import { packRows } from '../../src/runtime/packed-rows.js'
import { modelDir } from '../material.js'

const folder = await mkdtemp(join(tmpdir(), 'propetl-units-'))
after(() => rm(folder, { recursive: true }))
const model = await loadModel(modelDir, 10)
const { backbone, tokenizer } = model
const { hiddenSize: H, layers, vocabulary } = backbone.dims

const named: LabelSpace = { problem: 'token_classification', labels: ['B-X', 'I-X', 'O'] }
const similar: LabelSpace = { problem: 'feature_extraction', labels: [], range: [0, 4] }

/** Two of its words lie beyond ten tokens. */
const cutShort = { text: 'U.S. unbelievableness 😀 is too long', label: 'B-X O O I-X O B-X' }

let files = 0
async function load(space: LabelSpace, rows: readonly object[], onWarning: (what: string) => void = assert.fail) {
  const path = join(folder, `${files++}.jsonl`)
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\n'))
  return loadExampleSet(path, defaultColumns, space, tokenizer, vocabulary, onWarning)
}

test('a span has the first of the words that begin in it', () => {
  const spans = [
    { start: 0, end: 2 },
    { start: 3, end: 7 },
    { start: 8, end: 9 },
    { start: 10, end: 14 },
  ]
  const found = [0, 4, 5, 10, 12].map((start) => ({ start }))
  assert.deepEqual(wordsBeginningIn(spans, found), [0, 1, -1, 3])
  assert.deepEqual(wordsBeginningIn(spans, []), [-1, -1, -1, -1])
})

test('the label of a word is that of its first token; what was cut off has none, and is told', async () => {
  const warnings: string[] = []
  const data = await load(
    named,
    [cutShort, { text: ['one', '\u200b', 'two', 'a', 'b', 'c', 'd', 'e', 'f', 'g'], label: Array(10).fill('O') }],
    (what) => void warnings.push(what),
  )
  // [CLS] u . s . unbelievable ##ness 😀 is [SEP]; and [CLS] one two a b c d e f [SEP], for a zero-width space is no token.
  assert.deepEqual([...(data.words?.tokens(0) ?? [])], [1, 5, 7, 8, noToken, noToken])
  assert.deepEqual([...(data.words?.tokens(1) ?? [])], [1, noToken, 2, 3, 4, 5, 6, 7, 8, noToken])
  assert.deepEqual([...data.targets.slice(0, 6)], [0, 2, 2, 1, 2, 0])
  assert.match(warnings[0] ?? '', /4 words have no token/)
  const outputs = new Float32Array(16 * 3)
  const { predictions, actual, starts } = evaluationOf(outputs, named, { set: data, examples: Int32Array.of(1, 0) })
  assert.deepEqual([...predictions], [0, -1, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, -1])
  assert.deepEqual([...actual.slice(10)], [0, 2, 2, 1, 2, 0])
  assert.deepEqual([...starts], [0, 10, 16])
})

const pairRows = [
  { text: 'a dog', text_pair: 'the big cat', label: 4 },
  { text: 'one saw', text_pair: 'a dog', label: 0 },
  { text: 'a dog', text_pair: 'the big cat', label: 1 },
]

test('the texts of a pair are read apart, and lie in one row', async () => {
  const data = await load(similar, pairRows)
  assert.equal(exampleCount(data), 3)
  const [row] = encodedExamples(wholeSet(data))
  assert.deepEqual(
    row?.texts.map(({ inputIds, tokenTypeIds }) => [inputIds.length, tokenTypeIds.some(Boolean)]),
    [
      [4, false],
      [5, false],
    ],
  )
  const part = (...rows: number[]): Subset => ({ set: data, examples: Int32Array.from(rows) })
  assert.equal(countDuplicates(part(0, 1), part(2)), 1)
  assert.deepEqual([...problemTraits.feature_extraction.lossTargets(similar, data.targets)], [1, 0, 0.25])
})

const plan: ModulePlan = {
  kind: 'prototype',
  config: { kind: 'adapter', bottleneck: 4, activation: 'tanh', scaling: 1 },
  weights: 'learned',
  masks: { kind: 'task', task: 'learned' },
}

/** Module and head as they begin, and the graph's loss, outputs and gradients at them or near them. */
async function openStep(
  problem: ProblemType,
  head: 'linear' | 'dense',
  rows: readonly EncodedExample[],
  data: Float32Array,
) {
  const { unit, loss } = problemTraits[problem]
  const random = new Random(3, 'test')
  const module = initialModule(moduleParameters(plan, layers, H), { deviation: 0.1 }, random)
  const space = problem === 'feature_extraction' ? similar : named
  const tensors = [...module, ...initialHead(space, H, head, random)]
  const texts = packRows(rows.flatMap(({ texts }) => texts.map((text) => ({ ...text, pooling: 'mean' as const }))))
  const session = await GraphSession.open(trainingGraph(backbone, plan, { mode: 'learn', problem, head }), {
    directory: backbone.directory,
    threads: 1,
  })
  const targets = problemTraits[problem].lossTargets(space, data)
  const C = Math.max(1, space.labels.length)
  const inputs = {
    ...textInputs(texts),
    ...(unit === 'word' ? wordInputs(rows) : poolInputs(texts)),
    ...targetInputs(targets, targetWeights(rows, loss, C)),
  }
  const run = (changed: Readonly<Record<string, Float32Array>> = {}) =>
    session.run({
      ...inputs,
      ...Object.fromEntries(tensors.map(({ name, shape, values }) => [name, { shape, data: changed[name] ?? values }])),
    })
  return { tensors, run, close: () => session.release() }
}

const cases = [
  { problem: 'token_classification', head: 'linear' },
  { problem: 'token_classification', head: 'dense' },
  { problem: 'feature_extraction', head: 'linear' },
] as const
for (const { problem, head } of cases)
  test(`the gradients of a ${problem} under a ${head} head are the slopes of its loss`, async () => {
    const data =
      problem === 'feature_extraction'
        ? await load(similar, pairRows)
        : await load(named, [cutShort, { text: 'in Rome', label: 'O B-X' }], () => {})
    const { tensors, run, close } = await openStep(problem, head, encodedExamples(wholeSet(data)), data.targets)
    const exact = await run()
    const names = tensors.map(({ name }) => name)
    assert.equal(
      names.filter((name) => name.startsWith('head.')).length,
      { linear: 2, dense: 4 }[head] * (problem === 'feature_extraction' ? 0 : 1),
    )
    for (const { name, values } of tensors) {
      const gradient = exact.get(`${name}.grad`) ?? assert.fail(name)
      const norm = Math.sqrt(gradient.reduce((sum, value) => sum + value * value, 0))
      assert.ok(norm > 0, `${name} has no gradient`)
      // Along its own direction the loss rises by the gradient's norm; five points, as gradients.test.ts has it.
      const step = 0.01
      const loss = async (by: number) =>
        (await run({ [name]: values.map((value, i) => value + (by * (gradient[i] ?? 0)) / norm) })).get('loss')?.[0] ??
        0
      const near = (await loss(step)) - (await loss(-step))
      const far = (await loss(2 * step)) - (await loss(-2 * step))
      const slope = (8 * near - far) / (12 * step)
      assert.ok(Math.abs(slope - norm) <= 0.02 * norm + 1e-4, `${name}: slope ${slope}, gradient ${norm}`)
    }
    await close()
  })

test('words that were cut off count neither in the loss nor in its mean', async () => {
  const data = await load(named, [cutShort], () => {})
  const other = data.targets.slice()
  other.set([0, 1], 4)
  const lossOf = async (targets: Float32Array) => {
    const { run, close } = await openStep('token_classification', 'linear', encodedExamples(wholeSet(data)), targets)
    const outputs = await run()
    await close()
    return outputs
  }
  const [found, changed] = [await lossOf(data.targets), await lossOf(other)]
  assert.equal(found.get('loss')?.[0], changed.get('loss')?.[0])
  // Mean over the four words that have tokens, of the textbook's cross entropy.
  const logits = found.get('logits') ?? assert.fail()
  const entropy = (word: number, label: number) => {
    const own = [...logits.subarray(word * 3, word * 3 + 3)]
    return Math.log(own.reduce((sum, value) => sum + Math.exp(value), 0)) - (own[label] ?? 0)
  }
  assert.ok(
    Math.abs((found.get('loss')?.[0] ?? 0) - (entropy(0, 0) + entropy(1, 2) + entropy(2, 2) + entropy(3, 1)) / 4) <
      1e-5,
  )
})

test('a batch cut into pieces learns what it learns at once, whatever its units', async () => {
  const texts = Array.from({ length: 150 }, (_, i) =>
    ['one', 'two', 'six', 'ten', 'all', 'few', 'our', 'any'].slice(i % 7),
  )
  const words = await load(
    named,
    texts.map((own) => ({ text: own, label: own.map((_, i) => named.labels[i % 3]) })),
  )
  const pairs = await load(
    similar,
    texts.slice(0, 120).map((own, i) => ({ text: own.join(' '), text_pair: own.slice(-1)[0], label: i % 5 })),
  )
  for (const [data, space] of [
    [words, named],
    [pairs, similar],
  ] as const) {
    const random = new Random(1, 'pieces')
    const module = initialModule(moduleParameters(plan, layers, H), { deviation: 0.1 }, random)
    const task = { problem: space.problem, head: 'linear', tensors: initialHead(space, H, 'linear', random) } as const
    const rates = { weights: 0, scores: 0, heads: 0 }
    const options = { rates, density: 1, weightDecay: 0, pooling: 'mean', threads: 1 } as const
    const learner = new Trainer(backbone, plan, module, options)
    const rows = encodedExamples(wholeSet(data))
    const targets = problemTraits[space.problem].lossTargets(space, data.targets)
    assert.ok(rows.reduce((sum, row) => sum + exampleTokens(row), 0) > maxRunTokens.cpu, 'the batch takes pieces')
    const together = await learner.step(task, rows, targets, 1)
    // The mean of two halves, each of which takes no pieces.
    const C = outputCount(space)
    const units = (part: readonly EncodedExample[]) => part.reduce((sum, row) => sum + labelCount(row), 0)
    const half = rows.length / 2
    const halves = [rows.slice(0, half), rows.slice(half)] as const
    const first = units(halves[0])
    const losses = [
      await learner.step(task, halves[0], targets.subarray(0, first * C), 1),
      await learner.step(task, halves[1], targets.subarray(first * C), 1),
    ] as const
    const mean = (first * losses[0] + units(halves[1]) * losses[1]) / units(rows)
    assert.ok(Math.abs(together - mean) < 1e-4, `${together} against ${mean}`)
    await learner.release()
  }
})
