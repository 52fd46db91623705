// Runs benchmarks one after another. A benchmark that fails does not stop the others.

import type { Result } from './report.js'
import { type Benchmark, isMet, type Log } from './support/figures.js'

export interface PlannedBenchmark extends Pick<Result, 'benchmark' | 'group' | 'command'> {
  readonly run: Benchmark
}

/** @param onResult called after each benchmark */
export async function runBenchmarks(
  planned: readonly PlannedBenchmark[],
  log: Log,
  onResult: (result: Result) => void,
): Promise<Result[]> {
  const results: Result[] = []
  for (const [index, { run, ...benchmark }] of planned.entries()) {
    log(`${benchmark.benchmark} (${index + 1} of ${planned.length}) …`)
    const start = performance.now()
    const outcome = await run(log).then(
      (figures) => ({ figures }),
      (error: unknown) => ({ figures: [], error: error instanceof Error ? error.message : String(error) }),
    )
    const result: Result = { ...benchmark, seconds: Math.round((performance.now() - start) / 100) / 10, ...outcome }
    if (result.error !== undefined) log(`${benchmark.benchmark} failed: ${result.error}`)
    results.push(result)
    onResult(result)
  }
  return results
}

/** @returns 1 if a benchmark failed or a figure missed its target */
export const exitCodeOf = (results: readonly Result[]): 0 | 1 =>
  results.some(({ error, figures }) => error !== undefined || figures.some((figure) => isMet(figure) === false)) ? 1 : 0
