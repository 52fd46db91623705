// The benchmarks page, and the reports that it is made from.

import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { benchmarksPage } from '../../bench/page.js'
import { type Report, type Result, readReport, readReports, serializeReport } from '../../bench/report.js'
import type { Figure } from '../../bench/support/figures.js'
import { root } from '../material.js'

const machine = { cpu: 'Some CPU', cores: 2, memoryGiB: 8, os: 'Linux x64', node: 'v24.0.0' }

const figure = (name: string, value: number, more: Partial<Figure> = {}): Figure => ({
  name,
  unit: 'ms',
  value,
  spread: [value - 1, value + 1],
  repeats: 5,
  ...more,
})

const result = (benchmark: string, group: Result['group'], figures: readonly Figure[], error?: string): Result => ({
  benchmark,
  group,
  command: `npm run bench -- ${benchmark}`,
  seconds: 120,
  figures,
  ...(error !== undefined && { error }),
})

const report = (date: string, results: readonly Result[], more: Partial<Report> = {}): Report => ({
  format: 'propetl-bench/1',
  machine,
  version: '1.2.3',
  date,
  command: 'npm run bench',
  results,
  ...more,
})

test('docs/benchmarks.md is what `npm run bench:page` writes from docs/benchmarks', () => {
  const page = benchmarksPage(readReports(join(root, 'docs/benchmarks')))
  assert.equal(readFileSync(join(root, 'docs/benchmarks.md'), 'utf8'), page)
})

test('a row states target, value, spread, result and notes', () => {
  const met = figure('Met', 12.345, {
    target: { atMost: 20 },
    notes: { 'a | b': 0.5, 'p99 ms': 20, 'waiting time, s': 3, 'texts/s': 7, text: 'x' },
  })
  const missed = figure('Missed', 1234.5, { unit: '', target: { atLeast: 2000 }, repeats: 1 })
  const page = benchmarksPage([report('2026-01-01T00:00:00.000Z', [result('one', 'Serving', [met, missed])])])
  assert.ok(
    page.includes(
      '| Met | ≤ 20 ms | 12.3 ms (11.3 to 13.3, n = 5) | met | a \\| b: 0.500; p99: 20 ms; waiting time: 3 s; 7 texts/s; text: x |\n',
    ),
    page,
  )
  assert.ok(page.includes('| Missed | ≥ 2000 | 1,235 | **missed** |  |\n'), page)
  assert.ok(page.includes('- `npm run bench -- one` (2 min)'), page)
})

test('the newest value of a machine comes first, and older values follow', () => {
  const reports = [
    report('2026-01-01T00:00:00.000Z', [result('one', 'Serving', [figure('A', 30, { target: { atMost: 20 } })])]),
    report('2026-03-01T00:00:00.000Z', [result('one', 'Serving', [figure('A', 10, { target: { atMost: 20 } })])]),
    report('2026-02-01T00:00:00.000Z', [result('one', 'Serving', [figure('A', 15, { target: { atMost: 20 } })])]),
  ]
  const page = benchmarksPage(reports)
  assert.ok(page.includes('| A | ≤ 20 ms | 10 ms (9 to 11, n = 5); before: 15, **30** | met |  |'), page)
})

test('each machine has a section, and its groups are in a fixed order', () => {
  const results = [result('late', 'Training', [figure('T', 1)]), result('early', 'Serving', [figure('S', 1)])]
  const gpu = { ...machine, gpu: 'Some GPU' }
  const page = benchmarksPage([
    report('2026-01-01T00:00:00.000Z', results),
    report('2026-01-02T00:00:00.000Z', [result('device', 'GPU', [figure('G', 1)])], { machine: gpu }),
  ])
  const headings = page.split('\n').filter((line) => /^##/.test(line))
  assert.deepEqual(headings, [
    '## 2 cores of Some CPU',
    '### Serving',
    '### Training',
    '## Some GPU, with 2 cores of Some CPU',
    '### GPU',
  ])
})

test('a benchmark that failed is listed with its error', () => {
  const page = benchmarksPage([report('2026-01-01T00:00:00.000Z', [result('one', 'Faults', [], 'no disk')])])
  assert.ok(page.includes('- `one` failed: no disk'), page)
})

test('a report is read as it was written, also with a value that could not be measured', () => {
  const directory = mkdtempSync(join(tmpdir(), 'propetl-report-'))
  try {
    const path = join(directory, 'a.json')
    const figures = [
      figure('A', 1e-9, { target: { atMost: 1 } }),
      figure('B', Number.NaN, { notes: { x: Number.NaN } }),
    ]
    const written = report('2026-01-01T00:00:00.000Z', [result('one', 'Engine', figures)])
    writeFileSync(path, serializeReport(written))
    assert.deepEqual(readReport(path), written)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('a file that is not a report is rejected with its path and the place of the error', () => {
  const directory = mkdtempSync(join(tmpdir(), 'propetl-report-'))
  try {
    const path = join(directory, 'bad.json')
    const { machine: _, ...rest } = report('2026-01-01T00:00:00.000Z', [])
    writeFileSync(path, JSON.stringify(rest))
    assert.throws(() => readReport(path), { message: new RegExp(`^${path} is not a report .*machine`) })
  } finally {
    rmSync(directory, { recursive: true })
  }
})
