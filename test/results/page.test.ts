// Compares the page of invented runs with numbers computed by hand.

import assert from 'node:assert/strict'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { tables } from '../../bench/results/compared-methods.js'
import { pageOf, plotOf, writePage } from '../../bench/results/page.js'
import type { FinishedRun } from '../../bench/results/run.js'
import { tableOf } from '../../bench/results/table.js'
import { inventedRun, temporaryFolder } from './material.js'

const plain = { storage: { shared: 0, each: 200_000 }, seconds: 30 }
const multi = { storage: { shared: 50_000, each: 1_000 }, seconds: 60 }
const runs = [
  inventedRun('head', 1, { a: 0.5 }),
  inventedRun('head', 1, { b: 0.6 }),
  inventedRun('head', 1, { c: 0.9 }),
  inventedRun('plain', 1, { a: 0.8 }, { ...plain, version: 'old' }),
  inventedRun('plain', 1, { a: 0.7 }, plain),
  inventedRun('plain', 2, { a: 0.74 }, { ...plain, seconds: 40 }),
  inventedRun('plain', 3, { a: 0.72 }, { ...plain, seconds: 50 }),
  inventedRun('plain', 1, { b: 0.9 }, { ...plain, seconds: 40 }),
  inventedRun('multi', 1, { a: 0.7, b: 0.88, c: 0.91 }, multi),
]
const methods = tables[0]?.methods ?? []
const table = tableOf(runs, methods)
const sections = [{ title: 'Adapters', table }]
const pageOfRuns = (runs: readonly FinishedRun[]) =>
  pageOf([{ title: 'Adapters', table: tableOf(runs, methods) }], undefined)

const rowOf = (page: string, head: string): string[] => {
  const line = page.split('\n').find((line) => line.startsWith(`| ${head}`)) ?? assert.fail(`no row ${head}`)
  return line
    .split('|')
    .slice(2, -1)
    .map((cell) => cell.trim())
}

/** Fails unless all elements are closed in order. */
function assertBalanced(xml: string): void {
  const open: string[] = []
  for (const [, closing, name, empty] of xml.matchAll(/<(\/?)([a-z]+)(?:\s+[\w:-]+="[^"<>]*")*\s*(\/?)>/g)) {
    if (closing) assert.equal(open.pop(), name)
    else if (!empty) open.push(name ?? '')
  }
  assert.deepEqual(open, [])
  assert.doesNotMatch(xml.replaceAll(/<[^<>]*>/g, ''), /[<>]|&(?!#\d+;)/)
}

test('cells, means, storage and times agree with a computation by hand', () => {
  const page = pageOf(sections, 'results.svg')
  assert.deepEqual(rowOf(page, ' |'), ['head only', 'plain adapter', 'multi-task PROPETL (OR)'])
  assert.deepEqual(rowOf(page, 'a, accuracy'), ['0.500 (1)', '0.720 ± 0.020 (3)', '0.700 (1)'])
  assert.deepEqual(rowOf(page, 'b, accuracy'), ['0.600 (1)', '0.900 (1)', '0.880 (1)'])
  assert.deepEqual(rowOf(page, 'c, accuracy'), ['0.900 (1)', '–', '0.910 (1)'])
  // Means over a and b, which have runs of all methods: (0.5 + 0.6)/2, (0.72 + 0.9)/2, (0.7 + 0.88)/2
  assert.deepEqual(rowOf(page, '**mean of 2 tasks**'), ['**0.550**', '**0.810**', '**0.790**'])
  // ((0.5 − 0.72) + (0.6 − 0.9))/2 = −0.26; ((0.7 − 0.72) + (0.88 − 0.9))/2 = −0.02
  assert.deepEqual(rowOf(page, 'difference to the plain'), ['−26.0 (2 tasks)', '–', '−2.0 (2 tasks)'])
  // 3 tasks: 3 · 200,000; 50,000 + 3 · 1,000
  assert.deepEqual(rowOf(page, 'total storage for 3 tasks'), ['0', '600,000', '53,000'])
  assert.deepEqual(rowOf(page, 'as a share of the backbone'), ['0.00 %', '60.0 %', '5.30 %'])
  assert.deepEqual(rowOf(page, 'as a share of the plain module'), ['0.00 %', '100 %', '8.83 %'])
  assert.deepEqual(rowOf(page, 'storage per added task'), ['0', '200,000', '1,000'])
  // (30 + 40 + 50 + 40)/4; 60/3
  assert.deepEqual(rowOf(page, 'training time'), ['10.0', '40.0', '20.0'])
})

test('the page lists what is missing and left out, and says how it was made', () => {
  const page = pageOf(sections, 'results.svg')
  assert.match(page, /\*\*Incomplete\.\*\*/)
  assert.match(page, /^- plain adapter: no run on c$/m)
  assert.match(page, /^- plain adapter: fewer seeds on b$/m)
  assert.match(page, /^- single-task PROPETL: no run on any task$/m)
  assert.match(page, /^- head only: fewer seeds on a, b, c$/m)
  assert.match(page, /^1 run with other settings than the latest run of the method is left out\.$/m)
  assert.match(page, /npm run results -- run --data DIR/)
  assert.match(page, /^- plain adapter: 4 runs of 400 steps, version v1, `\{"maxRows":3000\}`$/m)
  assert.match(page, /!\[[^\]]+\]\(results\.svg\)/)
})

test('compares masks with plain adapters on tasks that their prototype was not trained on', () => {
  const mask = { settings: { learnedOn: ['a'] } }
  const page = pageOfRuns([
    ...runs,
    inventedRun('plain', 1, { c: 0.95 }, plain),
    inventedRun('mask-one', 1, { a: 0.75 }, mask),
    inventedRun('mask-one', 1, { b: 0.84 }, mask),
    inventedRun('mask-one', 1, { c: 0.92 }, mask),
  ])
  // b and c: ((0.84 − 0.9) + (0.92 − 0.95))/2 = −0.045; the gain of b is (0.84 − 0.6)/(0.9 − 0.6), that of c 0.02/0.05
  assert.deepEqual(rowOf(page, 'difference to plain adapters on tasks'), ['–', '–', '–', '−4.5 (2 tasks)'])
  assert.deepEqual(rowOf(page, 'of these tasks, the smallest gain'), ['–', '–', '–', '40 % (c)'])
})

test('a complete table lists nothing as missing', () => {
  const scores = { a: 0.5 }
  const complete = (['head', 'plain', 'single', 'multi', 'mask-one', 'mask-layer'] as const).map((method) =>
    inventedRun(method, 1, scores),
  )
  assert.doesNotMatch(pageOfRuns(complete), /Incomplete|left out/)
})

test('LoRA and prefix have their own table, with the adapter on their tasks and their plain counterparts', () => {
  const others = [
    inventedRun('lora-plain', 1, { a: 0.74 }, { storage: { shared: 0, each: 100_000 } }),
    inventedRun('lora-single', 1, { a: 0.71 }, { storage: { shared: 0, each: 20_000 } }),
  ]
  const [, second] = tables
  assert.ok(second)
  const page = pageOf(
    [{ title: second.title, table: tableOf([...runs, ...others], second.methods, second.own) }],
    undefined,
  )
  assert.deepEqual(rowOf(page, ' |'), ['plain adapter', 'plain LoRA', 'single-task PROPETL, LoRA'])
  assert.deepEqual(rowOf(page, 'a, accuracy'), ['0.720 ± 0.020 (3)', '0.740 (1)', '0.710 (1)'])
  assert.doesNotMatch(page, /^\| b, accuracy/m)
  assert.deepEqual(rowOf(page, 'difference to the plain module'), ['–', '–', '−3.0 (1 task)'])
  assert.deepEqual(rowOf(page, 'as a share of the plain module'), ['100 %', '100 %', '20.0 %'])
})

test('the plot is balanced XML with a labelled point for each method', () => {
  const svg = plotOf(table) ?? assert.fail('no plot')
  assertBalanced(svg)
  assert.equal([...svg.matchAll(/<circle class="point"/g)].length, 3)
  for (const label of ['head only', 'plain adapter', 'multi-task PROPETL (OR)']) assert.ok(svg.includes(`>${label}<`))
  // 25 kB and 2.2 kB per task: plain adapters are to the right of masks, and higher.
  const [head, multi, plain] = [...svg.matchAll(/cx="([\d.]+)" cy="([\d.]+)"/g)]
    .map(([, x, y]) => ({ x: Number(x), y: Number(y) }))
    .sort((a, b) => a.x - b.x)
  assert.ok(head && plain && multi)
  assert.ok(plain.y < multi.y && multi.y < head.y)
})

test('methods without a common task have no mean and no plot, and an old plot is removed', async () => {
  const folder = await temporaryFolder()
  const [store, out] = [join(folder, 'runs.jsonl'), join(folder, 'docs', 'results.md')]
  const write = (lines: readonly unknown[]) => writeFile(store, lines.map((run) => `${JSON.stringify(run)}\n`).join(''))
  await write([inventedRun('head', 1, { a: 0.5 })])
  await writePage(store, out)
  assert.deepEqual((await readdir(join(folder, 'docs'))).sort(), ['results.md', 'results.svg'])
  await write([inventedRun('head', 1, { a: 0.5 }), inventedRun('plain', 1, { b: 0.5 }, plain)])
  await writePage(store, out)
  assert.deepEqual(await readdir(join(folder, 'docs')), ['results.md'])
  const page = await readFile(out, 'utf8')
  assert.match(page, /there are no means and there is no plot/)
  assert.deepEqual(rowOf(page, '**mean of 0 tasks**'), ['–', '–'])
})

test('a store without runs is an error', async () => {
  const folder = await temporaryFolder()
  await assert.rejects(writePage(join(folder, 'none.jsonl'), join(folder, 'x.md')), /none\.jsonl has no finished runs/)
})
