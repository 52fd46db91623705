// Combines the runs of a store into a table: a cell per task and method, and the mean and storage of each column.

import { type ComparedMethod, plainCounterpart } from './compared-methods.js'
import type { FinishedRun } from './run.js'

/** The score of a task with a method, over seeds. */
export interface Cell {
  readonly mean: number
  /** Half the range from the lowest to the highest score. */
  readonly halfSpread: number
  readonly seeds: number
}

export interface Column {
  readonly method: ComparedMethod
  /** The runs with the same settings as the latest run. A method that trains several tasks jointly needs the same tasks, too. */
  readonly runs: readonly FinishedRun[]
  readonly version: string
  readonly settings: Readonly<Record<string, unknown>>
  readonly cells: ReadonlyMap<string, Cell>
  /** Over the tasks with runs of all columns; undefined if there are none. */
  readonly mean: number | undefined
  /** Mean difference to the plain module over the tasks of both, in points of 0.01. */
  readonly againstPlain: { readonly points: number; readonly tasks: number } | undefined
  /** For masks: the difference on tasks that their prototype was not trained on. */
  readonly unseen: Unseen | undefined
  readonly storage: StorageOf
  /** Mean training time per task, in seconds. */
  readonly seconds: number
}

/** The scores of masks on tasks that their prototype was not trained on. */
export interface Unseen {
  readonly tasks: readonly string[]
  /** Mean difference to plain adapters, in points of 0.01. */
  readonly points: number
  /** The task with the smallest gain, where a head alone is 0 and plain adapters are 1. */
  readonly least: { readonly task: string; readonly gain: number }
}

/** Storage of a method for all tasks of the table, in bits. */
export interface StorageOf {
  readonly total: number
  /** Bits that each further task adds. */
  readonly added: number
  /** The total as a share of the backbone. */
  readonly ofBackbone: number
  /** The total as a share of the plain module, if that is in the table. */
  readonly ofPlain: number | undefined
}

export interface Table {
  readonly tasks: readonly string[]
  readonly metrics: ReadonlyMap<string, string>
  /** Methods that have runs on its tasks. */
  readonly columns: readonly Column[]
  /** Tasks with runs of all columns. Means are over these tasks. */
  readonly shared: readonly string[]
  readonly seeds: readonly number[]
  /** Runs with other settings than the latest run of their method. */
  readonly leftOut: readonly FinishedRun[]
  readonly missing: readonly Missing[]
}

/** The runs that a method needs until all tasks have all seeds. */
export interface Missing {
  readonly method: ComparedMethod
  readonly without: readonly string[]
  /** Tasks that have runs, but not for all seeds. */
  readonly fewerSeeds: readonly string[]
}

/**
 * @param methods the columns
 * @param own the methods whose tasks are the rows of the table
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

/** The runs of one method that have the same settings as the latest. */
function latestRuns(runs: readonly FinishedRun[]): FinishedRun[] {
  const last = runs.at(-1)
  if (last === undefined) return []
  const settingsKey = ({ method, version, tasks }: FinishedRun) =>
    JSON.stringify([version, method === 'multi' ? tasks.toSorted() : []])
  return runs.filter((run) => settingsKey(run) === settingsKey(last))
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
    return [{ task, points: 100 * (mean - top), gain: (mean - bottom) / (top - bottom) }]
  })
  const [least] = found.toSorted((a, b) => a.gain - b.gain)
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
