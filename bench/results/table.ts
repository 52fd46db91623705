// What the runs of a store say together: a cell for each task and method, and a column's means and storage.

import { type ComparedMethod, plainCounterpart } from './compared-methods.js'
import type { FinishedRun } from './run.js'

/** A task's score by a method, over seeds. */
export interface Cell {
  readonly mean: number
  /** Half of the distance from the lowest to the highest. */
  readonly halfSpread: number
  readonly seeds: number
}

export interface Column {
  readonly method: ComparedMethod
  /** Its runs with the settings, and where it learns several tasks together the tasks, of its latest run. */
  readonly runs: readonly FinishedRun[]
  readonly version: string
  readonly settings: Readonly<Record<string, unknown>>
  readonly cells: ReadonlyMap<string, Cell>
  /** Over the tasks that all columns have; undefined if there are none. */
  readonly mean: number | undefined
  /** Mean difference to the plain module over the tasks that both have, in points of 0.01. */
  readonly againstPlain: { readonly points: number; readonly tasks: number } | undefined
  /** Of masks: the same over the tasks that their prototype was not learned on. */
  readonly unseen: Unseen | undefined
  readonly storage: StorageOf
  /** Mean seconds of learning a task. */
  readonly seconds: number
}

/** Masks on tasks that their prototype was not learned on. */
export interface Unseen {
  readonly tasks: readonly string[]
  /** Mean difference to plain adapters, in points of 0.01. */
  readonly points: number
  /** The task with the shortest way up from a head alone (0) to plain adapters (1). */
  readonly least: { readonly task: string; readonly wayUp: number }
}

/** Bits of a method for all tasks of the table. */
export interface StorageOf {
  readonly total: number
  /** What one more task adds. */
  readonly added: number
  /** The total's part of the backbone's bits. */
  readonly ofBackbone: number
  /** The total's part of what the plain module takes, if that is in the table. */
  readonly ofPlain: number | undefined
}

export interface Table {
  readonly tasks: readonly string[]
  readonly metrics: ReadonlyMap<string, string>
  /** Methods that have runs on its tasks. */
  readonly columns: readonly Column[]
  /** Tasks that all columns have: what means are over. */
  readonly shared: readonly string[]
  readonly seeds: readonly number[]
  /** Runs with settings that are not their method's latest. */
  readonly leftOut: readonly FinishedRun[]
  readonly missing: readonly Missing[]
}

/** What a method lacks until every task has every seed. */
export interface Missing {
  readonly method: ComparedMethod
  readonly without: readonly string[]
  /** Tasks with runs, but not for all seeds. */
  readonly fewerSeeds: readonly string[]
}

/**
 * @param methods the columns
 * @param own the methods whose tasks are the rows
 */
export function tableOf(
  allRuns: readonly FinishedRun[],
  methods: readonly ComparedMethod[],
  own: readonly ComparedMethod[] = methods,
): Table {
  const runs = allRuns.filter(({ method }) => methods.includes(method))
  const ofOwn = runs.filter(({ method }) => own.includes(method))
  const metrics = new Map(ofOwn.flatMap(({ scores }) => scores.map(({ task, metric }) => [task, metric] as const)))
  const tasks = [...metrics.keys()].sort()
  const latestOf = new Map(methods.map((method) => [method, latestRuns(runs.filter((run) => run.method === method))]))
  const found = new Set([...latestOf.values()].flat())
  const chosen = [...latestOf].flatMap(([method, latest]) => {
    const used = latest.filter((run) => run.tasks.some((task) => metrics.has(task)))
    return used.length > 0 ? [{ method, runs: used, cells: cellsOf(used) }] : []
  })
  const used = chosen.flatMap(({ runs }) => runs)
  const seeds = [...new Set(used.map(({ seed }) => seed))].sort((a, b) => a - b)
  const shared = tasks.filter((task) => chosen.every(({ cells }) => cells.has(task)))
  const chosenOf = (wanted: ComparedMethod) => chosen.find(({ method }) => method === wanted)
  const head = chosenOf('head')
  const columns = chosen.map(({ method, runs, cells }): Column => {
    const [first] = runs
    if (first === undefined) throw new Error(`method ${method} has no runs`)
    const plain = chosenOf(plainCounterpart(method))
    return {
      method,
      runs,
      version: first.version,
      settings: first.settings,
      cells,
      mean: mean(shared.map((task) => cells.get(task)?.mean ?? Number.NaN)),
      againstPlain: plain && plain.method !== method ? difference(cells, plain.cells) : undefined,
      unseen: plain && head && unseenOf(first, cells, plain.cells, head.cells),
      storage: storageOf(first, tasks.length, plain?.runs[0]),
      seconds: mean(runs.map((run) => run.seconds / run.tasks.length)) ?? Number.NaN,
    }
  })
  const missing = methods.map((method): Missing => {
    const cells = chosen.find((column) => column.method === method)?.cells
    return {
      method,
      without: tasks.filter((task) => !cells?.has(task)),
      fewerSeeds: tasks.filter((task) => (cells?.get(task)?.seeds ?? seeds.length) < seeds.length),
    }
  })
  return {
    tasks,
    metrics,
    columns,
    shared,
    seeds,
    leftOut: runs.filter((run) => !found.has(run)),
    missing: missing.filter(({ without, fewerSeeds }) => without.length + fewerSeeds.length > 0),
  }
}

/** Runs of one method that may be put together: those like the latest. */
function latestRuns(runs: readonly FinishedRun[]): FinishedRun[] {
  const last = runs.at(-1)
  if (last === undefined) return []
  const together = ({ method, version, tasks }: FinishedRun) =>
    JSON.stringify([version, method === 'multi' ? tasks.toSorted() : []])
  return runs.filter((run) => together(run) === together(last))
}

function cellsOf(runs: readonly FinishedRun[]): Map<string, Cell> {
  const scores = new Map<string, number[]>()
  for (const run of runs)
    for (const { task, score } of run.scores) scores.set(task, [...(scores.get(task) ?? []), score])
  return new Map(
    [...scores].map(([task, own]) => [
      task,
      {
        mean: mean(own) ?? Number.NaN,
        halfSpread: (Math.max(...own) - Math.min(...own)) / 2,
        seeds: own.length,
      },
    ]),
  )
}

type Cells = ReadonlyMap<string, Cell>

function difference(cells: Cells, plain: Cells): Column['againstPlain'] {
  const points = [...cells].flatMap(([task, cell]) => {
    const other = plain.get(task)
    return other === undefined ? [] : [100 * (cell.mean - other.mean)]
  })
  const found = mean(points)
  return found === undefined ? undefined : { points: found, tasks: points.length }
}

function unseenOf({ settings }: FinishedRun, cells: Cells, plain: Cells, head: Cells): Unseen | undefined {
  const { learnedOn } = settings
  if (!Array.isArray(learnedOn)) return undefined
  const found = [...cells].flatMap(([task, { mean }]) => {
    const [top, bottom] = [plain.get(task)?.mean, head.get(task)?.mean]
    if (learnedOn.includes(task) || top === undefined || bottom === undefined) return []
    return [{ task, points: 100 * (mean - top), wayUp: (mean - bottom) / (top - bottom) }]
  })
  const [least] = found.toSorted((a, b) => a.wayUp - b.wayUp)
  const points = mean(found.map((task) => task.points))
  return least && points !== undefined ? { tasks: found.map(({ task }) => task), points, least } : undefined
}

function storageOf(run: FinishedRun, tasks: number, plain: FinishedRun | undefined): StorageOf {
  const totalOf = ({ storage }: FinishedRun) => storage.shared + tasks * storage.each
  return {
    total: totalOf(run),
    added: run.storage.each,
    ofBackbone: totalOf(run) / run.backboneBits,
    ofPlain: plain && totalOf(run) / totalOf(plain),
  }
}

const mean = (values: readonly number[]): number | undefined =>
  values.length === 0 ? undefined : values.reduce((sum, value) => sum + value, 0) / values.length
