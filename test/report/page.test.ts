import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { html } from '../../src/report/html.js'
import { judge, WorstExamples } from '../../src/report/judged-examples.js'
import { matrixOf, type PageFacts, reportPage } from '../../src/report/page.js'

const attack = '<script src="http://evil.example/x.js">&\'"'
const scores = { precision: 0.5, recall: 0.25, f1: 1 / 3, support: 1234 }
const facts: PageFacts = {
  task: attack,
  data: attack,
  rows: 2000,
  scores: [
    { metric: 'accuracy', score: 0.75, interval: [0.7, 0.8] },
    { metric: 'macro_f1', score: 0.5 },
  ],
  table: {
    unit: 'examples',
    labels: [
      { label: attack, ...scores },
      { label: 'other', ...scores },
    ],
    micro: scores,
    macro: scores,
    weighted: scores,
  },
  confusions: [{ actual: attack, predicted: 'other', rows: 3, of: 4 }],
  matrix: {
    labels: [attack, 'other'],
    counts: [
      [1, 3],
      [0, 6],
    ],
  },
  reliability: { error: 0.05, bins: [{ from: 0.9, to: 1, count: 10, confidence: 0.95, accuracy: 0.9 }] },
  losses: [0.5, 0.25, 0.3],
  worst: [{ place: 'a.csv:2', text: attack, expected: [attack], predicted: 'other', score: 0.9, isWrong: true }],
}

const tags = /<(\/?)([a-zA-Z][a-zA-Z0-9]*)((?:"[^"]*"|[^">])*)>/g

/** The elements of a page that open and are not closed, in order. Void elements and declarations do not count. */
function unclosed(page: string): string[] {
  const open: string[] = []
  for (const [, slash, name = '', rest = ''] of page.matchAll(tags)) {
    if (slash) assert.equal(open.pop(), name)
    else if (!['meta', 'br'].includes(name) && !rest.endsWith('/')) open.push(name)
  }
  return open
}

describe('the HTML report', () => {
  const page = reportPage(facts)

  test('is well-formed and loads nothing', () => {
    assert.deepEqual(unclosed(page), [])
    for (const [tag] of page.matchAll(tags))
      assert.doesNotMatch(tag, /^<(script|link|img|iframe|object)|\s(src|href|style)=/)
    assert.doesNotMatch(page, /url\(|@import/)
    assert.match(page, /Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/)
    assert.ok(page.length < 20_000)
  })

  test('escapes names and texts', () => {
    assert.ok(!page.includes(attack))
    assert.ok(page.includes('&#60;script src=&#34;http://evil.example/x.js&#34;&#62;&#38;&#39;&#34;'))
  })

  test('has a description for each chart, headings of rows and columns, and styles for light and dark', () => {
    assert.equal(page.match(/<svg role="img" aria-label="[^"]{20,}"/g)?.length, 3)
    assert.equal(page.match(/<caption>/g)?.length, 4)
    assert.equal(page.match(/<table>/g)?.length, 4)
    assert.match(page, /<html lang="en">/)
    assert.match(page, /prefers-color-scheme: dark/)
  })

  test('leaves out what the task does not have', () => {
    const page = reportPage({
      ...facts,
      table: undefined,
      matrix: undefined,
      reliability: undefined,
      confusions: [],
      losses: [],
      worst: [],
    })
    assert.doesNotMatch(page, /<section>|<svg/)
    assert.match(
      page,
      /<dt>accuracy<\/dt><dd>0\.7500 \(0\.7000 to 0\.8000\)<\/dd>\s*<dt>macro_f1<\/dt><dd>0\.5000<\/dd>/,
    )
  })

  test('shows the labels with the lowest F1, and the most confused ones in the matrix, if labels are many', () => {
    const labels = Array.from({ length: 400 }, (_, i) => `label ${i}`)
    const table = { ...facts.table, labels: labels.map((label, i) => ({ label, ...scores, f1: i / 400 })) }
    const page = reportPage({ ...facts, table: table as NonNullable<PageFacts['table']> })
    assert.match(page, /The 300 of 400 labels with the lowest F1\./)
    assert.match(page, />label 299</)
    assert.doesNotMatch(page, />label 300</)
    const classes = Float32Array.from(labels.keys())
    const evaluation = {
      predictions: classes.with(7, 8),
      actual: classes,
      starts: Int32Array.from({ length: 401 }, (_, i) => i),
    }
    const confusions = [{ actual: 'label 7', predicted: 'label 8', rows: 1, of: 1 }]
    const matrix = matrixOf({ problem: 'single_label_classification', labels }, evaluation, confusions)
    assert.deepEqual(matrix, {
      labels: ['label 7', 'label 8'],
      counts: [
        [0, 1],
        [0, 1],
      ],
    })
  })
})

test('markup of a template escapes values and keeps markup', () => {
  const list = ['a & b', '<c>'].map((item) => html`<li>${item}</li>`)
  assert.equal(
    html`<ul title="${'"x"'}">${list}</ul>${3}`.text,
    '<ul title="&#34;x&#34;"><li>a &#38; b</li><li>&#60;c&#62;</li></ul>3',
  )
})

describe('a judged example', () => {
  const example = { place: 'a.csv:2', text: 'some text', label: '' }
  const of = (outputs: number[], predictions: number[], actual: number[]) => ({
    outputs: Float32Array.from(outputs),
    predictions: Float32Array.from(predictions),
    actual: Float32Array.from(actual),
  })
  const near = (score: number | undefined, expected: number) =>
    assert.ok(Math.abs((score ?? Number.NaN) - expected) < 1e-6)

  test('has the confidence of its wrong label', () => {
    const space = { problem: 'single_label_classification', labels: ['a', 'b'] } as const
    const { score, ...rest } = judge(space, example, of([0, Math.log(3)], [1], [0]))
    assert.deepEqual(rest, { place: 'a.csv:2', text: 'some text', isWrong: true, expected: 'a', predicted: 'b' })
    near(score, 0.75)
    assert.equal(judge(space, example, of([0, 1], [1], [1])).isWrong, false)
  })

  test('has the confidence of the worst of several wrong labels', () => {
    const space = { problem: 'multi_label_classification', labels: ['a', 'b', 'c'] } as const
    const judged = judge(space, example, of([Math.log(3), -Math.log(9), 5], [1, 0, 1], [0, 1, 1]))
    assert.deepEqual(
      [judged.expected, judged.predicted],
      [
        ['b', 'c'],
        ['a', 'c'],
      ],
    )
    near(judged.score, 0.9)
  })

  test('shows words without a prediction', () => {
    const space = { problem: 'token_classification', labels: ['O', 'B-X'] } as const
    const judged = judge(space, example, of([0, Math.log(4), Number.NaN, Number.NaN], [1, -1], [0, 0]))
    assert.deepEqual(
      [judged.expected, judged.predicted],
      [
        ['O', 'O'],
        ['B-X', '?'],
      ],
    )
    near(judged.score, 0.8)
  })

  test('has the absolute difference of a number, and counts as wrong', () => {
    const judged = judge({ problem: 'regression', labels: [] }, example, of([2.5], [2.5], [4]))
    assert.deepEqual([judged.expected, judged.predicted, judged.score, judged.isWrong], [4, 2.5, 1.5, true])
  })
})

test('the worst examples are those with the highest scores, in order', () => {
  const worst = new WorstExamples(3)
  for (const score of [0.2, 0.9, 0.5, 0.1, 0.7])
    worst.add({ place: '', text: '', expected: '', predicted: '', score, isWrong: true })
  worst.add({ place: '', text: '', expected: '', predicted: '', score: 1, isWrong: false })
  assert.deepEqual(
    worst.list.map(({ score }) => score),
    [0.9, 0.7, 0.5],
  )
})
