// Which runs are wanted, in which order, and how long those that are left will take.

import { type ComparedMethod, comparedMethods, type Settings } from './compared-methods.js'
import type { FinishedRun, PlannedRun } from './run.js'

/**
 * One seed of everything comes before the second seed. Within a seed the rows of the table fill one after another; the
 * runs on all tasks together come last.
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
 * Estimates how many seconds runs will take: of each task what a task took so far by the same method, or by any where
 * the method has not been run. Undefined if nothing has.
 */
export function estimateSeconds(waiting: readonly PlannedRun[], finished: readonly FinishedRun[]): number | undefined {
  if (waiting.length === 0) return 0
  if (finished.length === 0) return undefined
  const aTask = (runs: readonly FinishedRun[]) =>
    runs.reduce((sum, { seconds }) => sum + seconds, 0) / runs.reduce((sum, { tasks }) => sum + tasks.length, 0)
  return waiting.reduce((sum, { method, tasks }) => {
    const same = finished.filter((run) => run.method === method)
    return sum + tasks.length * aTask(same.length > 0 ? same : finished)
  }, 0)
}
