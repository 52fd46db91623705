// Training on labelled words and on pairs of texts: the positions of their tokens, their losses and gradients.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { defaultColumns } from '../../src/data/columns.js'
import { type LabelSpace, outputCount } from '../../src/data/label-space.js'
import { defaultWordRule } from '../../src/formats/word-rule.js'
import {
  exampleTokens,
  labelCount,
  poolInputs,
  targetInputs,
  targetWeights,
  textInputs,
  wordInputs,
} from '../../src/learn/batches.js'
import { evaluationOf, withoutMissingWords } from '../../src/learn/evaluation.js'
import {
  countDuplicates,
  type EncodedExample,
  encodedExamples,
  exampleCount,
  type Subset,
  wholeSet,
} from '../../src/learn/example-set.js'
import { loadExampleSet } from '../../src/learn/load-example-set.js'
import { loadModel } from '../../src/learn/model.js'
import { type ModulePlan, moduleParameters } from '../../src/learn/plan.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { Random } from '../../src/learn/random.js'
import { initialHead, initialModule } from '../../src/learn/tensors.js'
import { Trainer } from '../../src/learn/trainer.js'
import { trainingGraph } from '../../src/learn/training-graph.js'
import { wordsBeginningIn } from '../../src/learn/word-spans.js'
import { noToken } from '../../src/learn/word-table.js'
import type { ProblemType } from '../../src/petl/task.js'
import { GraphSession } from '../../src/runtime/graph-session.js'
import { packRows } from '../../src/runtime/packed-rows.js'
import { maxRunTokens } from '../../src/runtime/providers.js'
import { modelDir } from '../material.js'

const folder = await mkdtemp(join(tmpdir(), 'propetl-units-'))
after(() => rm(folder, { recursive: true }))
const model = await loadModel(modelDir, 10)
const { backbone, tokenizer } = model
const { hiddenSize: H, layers, vocabulary } = backbone.dims

const named: LabelSpace = { problem: 'token_classification', labels: ['B-X', 'I-X', 'O'], words: defaultWordRule }
const similar: LabelSpace = { problem: 'feature_extraction', labels: [], range: [0, 4] }

/** Two of its words are beyond the limit of ten tokens. I-X after O begins an entity, so it is read as B-X. */
const longText = { text: 'U.S. unbelievableness 😀 is too long', label: 'B-X O O I-X O B-X' }

let files = 0
async function load(space: LabelSpace, examples: readonly object[], onWarning: (what: string) => void = assert.fail) {
  const path = join(folder, `${files++}.jsonl`)
  await writeFile(path, examples.map((example) => JSON.stringify(example)).join('\n'))
  return loadExampleSet(path, defaultColumns, space, tokenizer, {}, vocabulary, { onWarning })
}

test('a span is matched with the first word that begins in it', () => {
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

test('a word takes the prediction of its first token, and a warning counts the words without token', async () => {
  const warnings: string[] = []
  const data = await load(
    named,
    [longText, { text: ['one', '\u200b', 'two', 'a', 'b', 'c', 'd', 'e', 'f', 'g'], label: Array(10).fill('O') }],
    (what) => void warnings.push(what),
  )
  // [CLS] u . s . unbelievable ##ness 😀 is [SEP]; and [CLS] one two a b c d e f [SEP]. A zero-width space has no token.
  assert.deepEqual([...(data.words?.tokens(0) ?? [])], [1, 5, 7, 8, noToken, noToken])
  assert.deepEqual([...(data.words?.tokens(1) ?? [])], [1, noToken, 2, 3, 4, 5, 6, 7, 8, noToken])
  assert.deepEqual([...data.targets.slice(0, 6)], [0, 2, 2, 0, 2, 0])
  assert.match(warnings[0] ?? '', /4 words have no token/)
  const subset = { set: data, examples: Int32Array.of(1, 0) }
  const outputs = withoutMissingWords(new Float32Array(16 * 3), 3, subset)
  const { predictions, actual, starts } = evaluationOf(outputs, named, subset)
  assert.deepEqual([...predictions], [0, -1, 0, 0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, -1])
  assert.deepEqual([...actual.slice(10)], [0, 2, 2, 0, 2, 0])
  assert.deepEqual([...starts], [0, 10, 16])
})

const pairExamples = [
  { text: 'a dog', text_pair: 'the big cat', label: 4 },
  { text: 'one saw', text_pair: 'a dog', label: 0 },
  { text: 'a dog', text_pair: 'the big cat', label: 1 },
]

test('the texts of a pair are encoded separately and form one example', async () => {
  const data = await load(similar, pairExamples)
  assert.equal(exampleCount(data), 3)
  const [example] = encodedExamples(wholeSet(data))
  assert.deepEqual(
    example?.texts.map(({ inputIds, tokenTypeIds }) => [inputIds.length, tokenTypeIds.some(Boolean)]),
    [
      [4, false],
      [5, false],
    ],
  )
  const subset = (...examples: number[]): Subset => ({ set: data, examples: Int32Array.from(examples) })
  assert.equal(countDuplicates(subset(0, 1), subset(2)), 1)
  assert.deepEqual([...problemTraits.feature_extraction.lossTargets(similar, data.targets)], [1, 0, 0.25])
})

const plan: ModulePlan = {
  kind: 'prototype',
  config: { kind: 'adapter', bottleneck: 4, activation: 'tanh', scaling: 1 },
  weights: 'trained',
  masks: { kind: 'task', task: 'trained' },
}

/** Opens the graph of a training step, with the initial module and head. `run` may replace some of their values. */
async function openStep(
  problem: ProblemType,
  head: 'linear' | 'dense',
  examples: readonly EncodedExample[],
  data: Float32Array,
) {
  const { unit, loss } = problemTraits[problem]
  const random = new Random(3, 'test')
  const module = initialModule(moduleParameters(plan, layers, H), { deviation: 0.1 }, random)
  const space = problem === 'feature_extraction' ? similar : named
  const tensors = [...module, ...initialHead(space, H, head, random)]
  const texts = packRows(examples.flatMap(({ texts }) => texts.map((text) => ({ ...text, pooling: 'mean' as const }))))
  const session = await GraphSession.open(trainingGraph(backbone, plan, { mode: 'train', problem, head }), {
    directory: backbone.directory,
    threads: 1,
  })
  const targets = problemTraits[problem].lossTargets(space, data)
  const C = Math.max(1, space.labels.length)
  const inputs = {
    ...textInputs(texts),
    ...(unit === 'word' ? wordInputs(examples) : poolInputs(texts)),
    ...targetInputs(targets, targetWeights(examples, loss, C)),
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
  test(`the gradients of a ${problem} with a ${head} head are the slopes of its loss`, async () => {
    const data =
      problem === 'feature_extraction'
        ? await load(similar, pairExamples)
        : await load(named, [longText, { text: 'in Rome', label: 'O B-X' }], () => {})
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
      // In the direction of the gradient, the slope of the loss is the norm of the gradient (five-point difference).
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

test('truncated words do not count in the loss or in its mean', async () => {
  const data = await load(named, [longText], () => {})
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
  // The mean cross entropy over the four words that have tokens.
  const logits = found.get('logits') ?? assert.fail()
  const entropy = (word: number, label: number) => {
    const wordLogits = [...logits.subarray(word * 3, word * 3 + 3)]
    return Math.log(wordLogits.reduce((sum, value) => sum + Math.exp(value), 0)) - (wordLogits[label] ?? 0)
  }
  assert.ok(
    Math.abs((found.get('loss')?.[0] ?? 0) - (entropy(0, 0) + entropy(1, 2) + entropy(2, 2) + entropy(3, 0)) / 4) <
      1e-5,
  )
})

test('a batch that runs in parts has the mean loss of its halves', async () => {
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
    const trainer = new Trainer(backbone, plan, module, options)
    const examples = encodedExamples(wholeSet(data))
    const targets = problemTraits[space.problem].lossTargets(space, data.targets)
    assert.ok(
      examples.reduce((sum, example) => sum + exampleTokens(example), 0) > maxRunTokens(),
      'the batch runs in parts',
    )
    const whole = await trainer.step(task, examples, targets, 1)
    // Each half is small enough to run at once.
    const C = outputCount(space)
    const labels = (half: readonly EncodedExample[]) => half.reduce((sum, example) => sum + labelCount(example), 0)
    const half = examples.length / 2
    const halves = [examples.slice(0, half), examples.slice(half)] as const
    const first = labels(halves[0])
    const losses = [
      await trainer.step(task, halves[0], targets.subarray(0, first * C), 1),
      await trainer.step(task, halves[1], targets.subarray(first * C), 1),
    ] as const
    const mean = (first * losses[0] + labels(halves[1]) * losses[1]) / labels(examples)
    assert.ok(Math.abs(whole - mean) < 1e-4, `${whole} against ${mean}`)
    await trainer.release()
  }
})
