// Runs of several benchmarks.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { exitCodeOf, type PlannedBenchmark, runBenchmarks } from '../../bench/run.js'
import { type Benchmark, once } from '../../bench/support/figures.js'

const planned = (benchmark: string, run: Benchmark): PlannedBenchmark => ({
  benchmark,
  group: 'Engine',
  command: `npm run bench -- ${benchmark}`,
  run,
})

const measuring =
  (value: number): Benchmark =>
  async () => [{ name: 'A', unit: '', ...once(value), target: { atMost: 1 } }]

const failing: Benchmark = async () => {
  throw new Error('it failed')
}

test('a benchmark that fails does not stop the others, and each result is reported at once', async () => {
  const events: string[] = []
  const results = await runBenchmarks(
    [
      planned('first', measuring(0)),
      planned('second', failing),
      planned('third', async (log) => {
        log('third runs')
        return measuring(0)(log)
      }),
    ],
    (progress) => events.push(progress),
    ({ benchmark }) => events.push(`result of ${benchmark}`),
  )
  assert.deepEqual(
    results.map(({ benchmark, figures, error }) => [benchmark, figures.length, error]),
    [
      ['first', 1, undefined],
      ['second', 0, 'it failed'],
      ['third', 1, undefined],
    ],
  )
  assert.ok(events.indexOf('result of first') < events.indexOf('second (2 of 3) …'))
  assert.ok(events.indexOf('second failed: it failed') < events.indexOf('third runs'))
})

test('the exit code is 1 if a target is missed or a benchmark failed, otherwise 0', async () => {
  const exitCode = async (...benchmarks: readonly Benchmark[]) => {
    const all = benchmarks.map((run, index) => planned(`b${index}`, run))
    const results = await runBenchmarks(
      all,
      () => {},
      () => {},
    )
    return exitCodeOf(results)
  }
  assert.equal(await exitCode(measuring(0), measuring(1)), 0)
  assert.equal(await exitCode(measuring(0), measuring(2)), 1)
  assert.equal(await exitCode(measuring(Number.NaN)), 1)
  assert.equal(await exitCode(failing, measuring(0)), 1)
})
