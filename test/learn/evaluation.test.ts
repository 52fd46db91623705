import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { evaluate } from '../../src/commands/evaluate.js'
import type { LabelSpace } from '../../src/data/label-space.js'
import type { Evaluation } from '../../src/learn/evaluated-examples.js'
import { metricFor, scoreOf } from '../../src/learn/evaluation.js'
import { confidenceInterval } from '../../src/learn/intervals.js'
import { problemTraits } from '../../src/learn/problem-traits.js'
import { Random } from '../../src/learn/random.js'
import { outputsOfPredictions, textsToPredict } from '../../src/learn/served-predictions.js'

const three: LabelSpace = { problem: 'single_label_classification', labels: ['a', 'b', 'c'] }
const several: LabelSpace = { problem: 'multi_label_classification', labels: ['a', 'b'] }

const starts = (examples: number) => Int32Array.from({ length: examples + 1 }, (_, at) => at)
const evaluationOf = (predictions: Float32Array, actual: Float32Array, starts: Int32Array): Evaluation => ({
  outputs: new Float32Array(3 * predictions.length),
  predictions,
  actual,
  starts,
})
const predictionsOf = (space: LabelSpace, outputs: Float32Array) =>
  problemTraits[space.problem].predictions(space, outputs)

test('predicts the class with the largest output', () =>
  assert.deepEqual([...predictionsOf(three, Float32Array.of(0, 2, 1, -1, -3, -2))], [1, 0]))

test('a multi-label classification predicts the labels that reach the threshold, and its F1 is the mean over labels', () => {
  const logits = Float32Array.of(1, -1, 1, 1, -1, 0)
  const actual = Float32Array.of(1, 0, 0, 1, 1, 1)
  // Label a: one true positive, one false positive, one false negative. Label b: two true positives.
  const score = (space: LabelSpace) =>
    scoreOf('macro_f1', space, {
      outputs: logits,
      predictions: predictionsOf(space, logits),
      actual,
      starts: starts(3),
    })
  assert.equal(score(several), (0.5 + 1) / 2)
  // The logit 0 is the probability 0.5. At a threshold of 0.6 one example of b is missed: F1 2/3.
  assert.equal(score({ ...several, thresholds: 0.6 }), (0.5 + 2 / 3) / 2)
})

test('the confidence interval of an accuracy agrees with the binomial distribution', () => {
  const examples = 400
  const actual = new Float32Array(examples)
  const predictions = Float32Array.from({ length: examples }, (_, at) => (at % 5 === 0 ? 1 : 0))
  const evaluation = evaluationOf(predictions, actual, starts(examples))
  const [low, high] = confidenceInterval('accuracy', three, evaluation, new Random(1, 'test')) ?? [0, 0]
  const half = 1.96 * Math.sqrt((0.8 * 0.2) / examples)
  assert.ok(Math.abs(0.8 - half - low) < 0.15 * half && Math.abs(0.8 + half - high) < 0.15 * half, `${low} to ${high}`)
})

test('the interval of an accuracy is that of Wilson, also if every prediction is right', () => {
  const labels = new Float32Array(20)
  const interval = (right: number) =>
    confidenceInterval(
      'accuracy',
      three,
      evaluationOf(
        labels,
        Float32Array.from(labels, (_, at) => (at < right ? 0 : 1)),
        starts(20),
      ),
      new Random(1, 'test'),
    ) ?? [Number.NaN, Number.NaN]
  // scipy.stats.binomtest(right, 20).proportion_ci(method='wilson')
  for (const [right, low, high] of [
    [20, 0.838875, 1],
    [18, 0.698966, 0.972134],
    [0, 0, 0.161125],
  ] as const)
    for (const [at, expected] of [low, high].entries())
      assert.ok(Math.abs((interval(right)[at] ?? Number.NaN) - expected) < 1e-6, `${right}: ${interval(right)}`)
})

test('no interval has a width of 0', () => {
  const labels = Float32Array.from({ length: 20 }, (_, at) => at % 3)
  const perfect = evaluationOf(labels, labels, starts(20))
  const [low = 1, high] = confidenceInterval('macro_f1', three, perfect, new Random(1, 'test')) ?? []
  assert.ok(low < 0.9 && high === 1)
  const numbers: LabelSpace = { problem: 'regression', labels: [] }
  const exact = { ...perfect, outputs: labels }
  assert.equal(confidenceInterval('rmse', numbers, exact, new Random(1, 'test')), undefined)
})

test('an interval stays within the range of its metric', () => {
  const actual = Float32Array.from({ length: 40 }, (_, at) => at % 2)
  const predictions = actual.map((label, at) => (at === 0 ? 1 - label : label))
  const evaluation = evaluationOf(predictions, actual, starts(40))
  for (const metric of ['matthews_correlation', 'macro_f1'] as const)
    for (let seed = 1; seed <= 10; seed++) {
      const [low = 1, high = 2] = confidenceInterval(metric, three, evaluation, new Random(seed, 'test')) ?? []
      assert.ok(low < 0.95 && high > 0.95 && high <= 1, `${metric} ${low} to ${high}`)
    }
})

test('the interval of an average precision contains the score', () => {
  const outputs = Float32Array.from({ length: 200 }, (_, at) => Math.sin(at * 12.9898))
  const actual = Float32Array.from(outputs, (output, at) => (at % 25 === 0 || output > 0.95 ? 1 : 0))
  const space: LabelSpace = { problem: 'multi_label_classification', labels: ['a', 'b'] }
  const evaluation = { outputs, predictions: new Float32Array(200), actual, starts: starts(100) }
  const score = scoreOf('average_precision', space, evaluation)
  const [low = 1, high = 0] = confidenceInterval('average_precision', space, evaluation, new Random(1, 'test')) ?? []
  assert.ok(low < score && score < high, `${low} to ${high} of ${score}`)
})

const named: LabelSpace = { problem: 'token_classification', labels: ['B-X', 'I-X', 'O'] }

test('the default metric of a token classification is span F1 if labels are B-, I- and O, else accuracy', () => {
  assert.equal(metricFor(named), 'span_f1')
  assert.equal(metricFor(named, 'accuracy'), 'accuracy')
  const words: LabelSpace = { problem: 'token_classification', labels: ['NOUN', 'VERB'] }
  assert.equal(metricFor(words), 'accuracy')
  assert.throws(
    () => metricFor(words, 'span_f1'),
    /"span_f1" does not apply to a token_classification whose labels are not O, B- and I-; expected accuracy/,
  )
  assert.throws(
    () => metricFor(three, 'span_f1'),
    /"span_f1" does not apply to a single_label_classification; expected/,
  )
  const similar: LabelSpace = { problem: 'feature_extraction', labels: [] }
  assert.equal(metricFor(similar), 'spearman')
  assert.throws(() => metricFor(similar, 'accuracy'), /expected spearman \| pearson \| pearson_and_spearman/)
})

test('the confidence interval of a token classification draws texts, each with all its words', () => {
  // 90 texts of one correct word, and 10 texts of 9 wrong words: half of the words are correct. Texts are drawn.
  const lengths = [...new Array<number>(90).fill(1), ...new Array<number>(10).fill(9)]
  const actual = new Float32Array(180)
  const predictions = Float32Array.from(actual, (_, word) => (word < 90 ? 0 : 1))
  const ends = lengths.map((_, text) => lengths.slice(0, text + 1).reduce((a, b) => a + b))
  const evaluation = evaluationOf(predictions, actual, Int32Array.of(0, ...ends))
  assert.equal(scoreOf('accuracy', named, evaluation), 0.5)
  const [low, high] = confidenceInterval('accuracy', named, evaluation, new Random(1, 'test')) ?? [0, 0]
  // The number of wrong texts is binomial(100, 0.1), from 5 to 16 in 95 % of samples. Drawing words would give 0.43 to 0.57.
  assert.ok(Math.abs(low - 84 / (84 + 16 * 9)) < 0.03 && Math.abs(high - 95 / (95 + 5 * 9)) < 0.03, `${low} to ${high}`)
})

test('outputs are recovered from predictions: of words by their positions, of pairs by the cosine of their vectors', () => {
  const word = (start: number, ...scores: number[]) => ({
    start,
    end: start + 1,
    scores: scores.map((score) => ({ score })),
  })
  const example = { place: 'x', text: 'In the U.S. now', label: ['O', 'O', 'B-X', 'O'] }
  const words = [
    { start: 0, end: 2 },
    { start: 3, end: 6 },
    { start: 7, end: 11 },
    { start: 12, end: 15 },
  ]
  // "the" has no prediction; the first of the four of "U.S." counts; "now" was truncated.
  const predicted = [word(0, 1, 2, 3), word(7, 4, 5, 6), word(8, 0, 0, 0), word(9, 0, 0, 0), word(10, 0, 0, 0)]
  const outputs = outputsOfPredictions(named, { ...example, words }, [{ words: predicted }])
  assert.deepEqual(outputs, [1, 2, 3, NaN, NaN, NaN, 4, 5, 6, NaN, NaN, NaN])
  assert.deepEqual([...predictionsOf(named, Float32Array.from(outputs))], [2, -1, 2, -1])
  const similar: LabelSpace = { problem: 'feature_extraction', labels: [] }
  const pair = { place: 'x', text: 'a', textPair: 'b', label: 1 }
  assert.deepEqual(textsToPredict(similar, pair), [{ text: 'a' }, { text: 'b' }])
  const [cosine = 0] = outputsOfPredictions(similar, pair, [{ embedding: [3, 4] }, { embedding: [5, 0] }])
  assert.ok(Math.abs(cosine - 0.6) < 1e-12)
})

test('evaluates a task on a server by its predictions', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'propetl-evaluate-'))
  const server = createServer((request, response) => {
    const respond = (value: unknown) => response.end(JSON.stringify(value))
    if (request.url === '/tasks') return respond({ total: 0, tasks: [] })
    if (request.method === 'GET') return respond({ problem_type: 'single_label_classification', labels: ['no', 'yes'] })
    let body = ''
    request.on('data', (piece) => {
      body += piece
    })
    request.on('end', () => {
      const { inputs, raw_scores } = JSON.parse(body) as { inputs: { text: string }[]; raw_scores: boolean }
      assert.ok(raw_scores)
      respond({
        predictions: inputs.map(({ text }) => ({ scores: [{ score: 0 }, { score: text === 'good' ? 1 : -1 }] })),
      })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const path = join(folder, 'rows.jsonl')
  const rows = Array.from({ length: 50 }, (_, i) => ({
    text: i % 2 ? 'good' : 'bad',
    label: i % 2 || i < 10 ? 'yes' : 'no',
  }))
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join('\n'))
  const flags = {
    modelDir: '',
    threads: 1,
    numerics: 'float32' as const,
    maxLength: 64,
    seed: 1,
    textColumn: 'text',
    labelColumn: 'label',
    json: true,
  }
  try {
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/tasks/mood`
    const found = JSON.parse(await evaluate(address, path, flags)) as { rows: number; score: number }
    assert.equal(found.rows, 50)
    assert.equal(found.score, 0.9)
    await assert.rejects(
      evaluate(address, path, { ...flags, metric: 'pearson' }),
      /metric "pearson" does not apply to a single_label_classification/,
    )
    await assert.rejects(
      evaluate(address.replace('/mood', ''), path, flags),
      /\/tasks is not a task; expected a URL like/,
    )
  } finally {
    server.close()
    await rm(folder, { recursive: true })
  }
})
