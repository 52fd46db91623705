// Plans the runs and their order, and estimates how long the remaining ones take.

import { type ComparedMethod, comparedMethods, type Settings } from './compared-methods.js'
import type { FinishedRun, PlannedRun } from './run.js'

/**
 * All runs of one seed come before the next seed. Within a seed, the table fills task by task, and the runs on all tasks
 * together come last.
 */
export function planRuns(
  tasks: readonly string[],
  wanted: readonly ComparedMethod[],
  seeds: readonly number[],
  settingsOf: (method: ComparedMethod) => Settings,
): PlannedRun[] {
  const chosen = comparedMethods.filter((method) => wanted.includes(method))
  return seeds.flatMap((seed) => [
    ...tasks.flatMap((task) =>
      chosen
        .filter((method) => method !== 'multi')
        .map((method) => ({ method, tasks: [task], seed, settings: settingsOf(method) })),
    ),
    ...(chosen.includes('multi') ? [{ method: 'multi' as const, tasks, seed, settings: settingsOf('multi') }] : []),
  ])
}

/**
 * Estimates how many seconds runs will take, from the mean time per task of the finished runs of the same method, or of
 * all methods. Undefined if there are no finished runs.
 */
export function estimateSeconds(waiting: readonly PlannedRun[], finished: readonly FinishedRun[]): number | undefined {
  if (waiting.length === 0) return 0
  if (finished.length === 0) return undefined
  const secondsPerTask = (runs: readonly FinishedRun[]) =>
    runs.reduce((sum, { seconds }) => sum + seconds, 0) / runs.reduce((sum, { tasks }) => sum + tasks.length, 0)
  return waiting.reduce((sum, { method, tasks }) => {
    const same = finished.filter((run) => run.method === method)
    return sum + tasks.length * secondsPerTask(same.length > 0 ? same : finished)
  }, 0)
}
