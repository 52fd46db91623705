// Trains the planned runs that are not in the store yet. It can be stopped at any time; the next call continues.

import { readdir, stat } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { duration } from '../../src/commands/progress-line.js'
import { defaultColumns } from '../../src/data/columns.js'
import { loadModel, loadPrototypeFor, type Model } from '../../src/learn/model.js'
import type { NamedTrainingData } from '../../src/learn/prototype-training.js'
import type { Progress } from '../../src/learn/run-progress.js'
import type { RunControl } from '../../src/learn/training.js'
import { loadNamedTrainingData } from '../../src/learn/training-folder.js'
import { prototypeName } from '../../src/petl/prototype-file.js'
import type { Combining } from '../../src/petl/task.js'
import { Problem } from '../../src/problem.js'
import type { Compute } from '../../src/runtime/providers.js'
import { type ComparedMethod, maxLength, settingsOf } from './compared-methods.js'
import { estimateSeconds, planRuns } from './order.js'
import { type FinishedRun, keyOf, type PlannedRun, runFormat, shortDigest, versionOf } from './run.js'
import { appendRun, checkStoreWritable, readRuns } from './store.js'
import { type Material, trainRun } from './train-run.js'

export interface RunnerOptions extends Required<Compute> {
  /** A folder with a folder per task: train.jsonl, and optionally dev.jsonl and task.json. */
  readonly data: string
  /** By default all tasks of the folder. */
  readonly tasks?: readonly string[]
  readonly methods: readonly ComparedMethod[]
  readonly seeds: readonly number[]
  readonly maxRows: number
  readonly epochs?: number
  readonly combine: Combining
  readonly modelDir: string
  /** Directory of the prototype that masks are trained on. */
  readonly prototypeDir: string
  readonly store: string
}

/** Receives the progress of the runner. */
export interface RunnerReport {
  /** Prints a line. */
  readonly print: (line: string) => void
  /**
   * @param place the number of the run, and of all runs
   * @param secondsAfter estimated time of the runs after it, if it is known
   */
  readonly show: (progress: Progress, place: string, secondsAfter: number | undefined) => void
}

/** Share of the training data that is used as dev examples if a task has no dev.jsonl. */
const devShare = 0.1

export interface RunnerResult {
  readonly stored: number
  /** Runs that were already in the store. */
  readonly skipped: number
  /** Runs whose training diverged. The next call tries them again. */
  readonly failed: number
  readonly stopped: boolean
}

/**
 * @param signal if aborted, the runner ends after the current step and does not store that run
 * @throws Problem if the options, the data or the store are invalid
 */
export async function runAll(
  options: RunnerOptions,
  { print, show }: RunnerReport,
  signal: AbortSignal,
): Promise<RunnerResult> {
  const { data, methods, seeds, store, provider, threads } = options
  const tasks = await tasksIn(data, options.tasks)
  const finished = [...(await readRuns(store))]
  await checkStoreWritable(store)
  const model = await loadModel(options.modelDir, maxLength)
  const masks = methods.some((method) => method === 'mask-one' || method === 'mask-layer')
  const prototype = masks
    ? await loadPrototypeFor(model.backbone, join(options.prototypeDir, prototypeName))
    : undefined
  const material: Material = { model, prototype, provider, threads }
  const choices = {
    ...options,
    backbone: shortDigest(model.backbone.digest),
    prototype: shortDigest(prototype?.digest ?? ''),
    learnedOn: prototype?.learnedOn ?? [],
  }

  const all = planRuns(tasks, methods, seeds, (method) => settingsOf(method, choices))
  const known = new Set(finished.map(keyOf))
  const remaining = all.filter((run) => !known.has(keyOf(run)))
  const skipped = all.length - remaining.length
  print(`${all.length} runs on ${tasks.length} tasks are planned; ${skipped} of them are already in ${store}`)
  const load = dataLoader(model, options, print)
  let stored = 0
  let failed = 0
  for (const [at, planned] of remaining.entries()) {
    const place = `run ${skipped + at + 1} of ${all.length} (${describeRun(planned)})`
    const secondsAfter = estimateSeconds(remaining.slice(at + 1), finished)
    const run = await runOnce(material, planned, await load(planned), {
      onProgress: (progress) => show(progress, place, secondsAfter),
      signal,
    })
    if (run === undefined) break
    if (run instanceof Problem) {
      failed++
      print(`${place}: ${run.message}; the run is not stored`)
      continue
    }
    await appendRun(store, run)
    finished.push(run)
    stored++
    print(
      `${place}: ${scoresText(run)} in ${duration(1000 * run.seconds)}; ${remainingTime(remaining.slice(at + 1), finished)}`,
    )
  }
  return { stored, skipped, failed, stopped: signal.aborted }
}

/** @returns undefined if the run was stopped; a Problem if training diverged */
async function runOnce(
  material: Material,
  planned: PlannedRun,
  tasks: readonly NamedTrainingData[],
  control: RunControl,
): Promise<FinishedRun | Problem | undefined> {
  const start = performance.now()
  try {
    control.signal.throwIfAborted()
    const outcome = await trainRun(material, tasks, planned.seed, planned.settings, control)
    control.signal.throwIfAborted()
    const seconds = Math.round(performance.now() - start) / 1000
    const version = versionOf(planned.settings)
    const settings = { ...planned.settings }
    return { format: runFormat, ...planned, ...outcome, seconds, settings, version, machine: machineOf(material) }
  } catch (error) {
    if (control.signal.aborted) return undefined
    if (error instanceof Problem && error.code === 'learning_diverged') return error
    throw error
  }
}

/** The ids of the tasks in a folder, or of those that are requested. */
async function tasksIn(folder: string, requested: readonly string[] | undefined): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: Error) => {
    throw new Problem('unreadable_file', `${folder} cannot be read: ${error.message}`)
  })
  const found: string[] = []
  for (const { name } of entries) {
    const file = await stat(join(folder, name, 'train.jsonl')).catch(() => undefined)
    if (file?.isFile()) found.push(name)
  }
  found.sort()
  if (found.length === 0)
    throw new Problem('invalid_data', `${folder} has no tasks; expected a folder per task, with train.jsonl`)
  const missing = requested?.find((task) => !found.includes(task))
  if (missing !== undefined)
    throw new Problem('invalid_setting', `${folder} has no task "${missing}"; it has ${found.join(', ')}`)
  return found.filter((task) => requested === undefined || requested.includes(task))
}

/** Loads the data of a run. Data is kept in memory for further runs with the same seed. */
function dataLoader(model: Model, { data, maxRows }: RunnerOptions, print: (line: string) => void) {
  const cache = new Map<string, NamedTrainingData>()
  let cachedSeed: number | undefined
  return async ({ tasks, seed }: PlannedRun): Promise<readonly NamedTrainingData[]> => {
    if (cachedSeed !== seed) cache.clear()
    cachedSeed = seed
    const loaded: NamedTrainingData[] = []
    for (const id of tasks) {
      const options = { devShare, seed, columns: defaultColumns, maxRows }
      const task =
        cache.get(id) ??
        (await loadNamedTrainingData(model, join(data, id), options, (warning) => print(`warning: ${id}: ${warning}`)))
      cache.set(id, task)
      loaded.push(task)
    }
    return loaded
  }
}

const machineOf = ({ provider, threads }: Material): string =>
  `${cpus()[0]?.model ?? 'unknown'}${provider === 'cuda' ? ' with cuda' : ''}, threads: ${threads || availableParallelism()}, Node ${process.version}`

const describeRun = ({ method, tasks, seed }: PlannedRun): string =>
  `${method}, ${tasks.length === 1 ? tasks[0] : `${tasks.length} tasks`}, seed ${seed}`

const scoresText = ({ scores }: FinishedRun): string =>
  scores.map(({ task, metric, score }) => `${task} ${metric} ${score.toFixed(4)}`).join(', ')

/** The text about the estimated time of the remaining runs. */
function remainingTime(remaining: readonly PlannedRun[], finished: readonly FinishedRun[]): string {
  const seconds = estimateSeconds(remaining, finished)
  return seconds === undefined ? 'time left not known yet' : `about ${duration(1000 * seconds)} left`
}
