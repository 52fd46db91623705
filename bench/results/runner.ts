// The loop over the runs that are wanted and not yet in the store. It may be ended at any moment and goes on from there.

import { readdir, stat } from 'node:fs/promises'
import { availableParallelism, cpus } from 'node:os'
import { join } from 'node:path'
import { duration } from '../../src/commands/progress-line.js'
import { defaultColumns } from '../../src/learn/examples.js'
import { loadModel, loadPrototypeFor, type Model } from '../../src/learn/model.js'
import type { NamedTrainingData } from '../../src/learn/prototype-training.js'
import type { Progress, RunControl } from '../../src/learn/training.js'
import { loadNamedTrainingData } from '../../src/learn/training-folder.js'
import type { Combining } from '../../src/petl/task.js'
import { Problem } from '../../src/problem.js'
import type { Compute } from '../../src/runtime/execution-providers.js'
import { type ComparedMethod, maxLength, settingsOf } from './compared-methods.js'
import { estimateSeconds, planRuns } from './order.js'
import { type FinishedRun, keyOf, type PlannedRun, runFormat, shortDigest, versionOf } from './run.js'
import { appendRun, checkStoreWritable, readRuns } from './store.js'
import { type Material, trainRun } from './train-run.js'

export interface RunnerOptions extends Required<Compute> {
  /** A folder of tasks, each a folder with train.jsonl, and perhaps dev.jsonl and task.json. */
  readonly data: string
  /** Without it all tasks of the folder. */
  readonly tasks?: readonly string[]
  readonly methods: readonly ComparedMethod[]
  readonly seeds: readonly number[]
  readonly maxRows: number
  readonly epochs?: number
  readonly combine: Combining
  readonly modelDir: string
  /** Where the prototype.safetensors is that masks are learned on. */
  readonly prototypeDir: string
  readonly store: string
}

/** Where the loop tells how far it is. */
export interface RunnerReport {
  /** A line of its own. */
  readonly say: (line: string) => void
  /**
   * @param place which run it is, of how many
   * @param secondsAfter what the runs after it will take, if that can be told
   */
  readonly show: (progress: Progress, place: string, secondsAfter: number | undefined) => void
}

/** Split off for dev where a task has no dev.jsonl. */
const devShare = 0.1

export interface RunnerResult {
  readonly stored: number
  /** Runs that had been stored before. */
  readonly skipped: number
  /** Runs whose loss became no number; they are tried again by the next call. */
  readonly failed: number
  readonly stopped: boolean
}

/**
 * @param signal once aborted, the loop ends after the current step, and the run that it belonged to is not stored
 * @throws Problem for what is wrong with the options, the data or the store
 */
export async function runAll(
  options: RunnerOptions,
  { say, show }: RunnerReport,
  signal: AbortSignal,
): Promise<RunnerResult> {
  const { data, methods, seeds, store, provider, threads } = options
  const tasks = await tasksIn(data, options.tasks)
  const finished = [...(await readRuns(store))]
  await checkStoreWritable(store)
  const model = await loadModel(options.modelDir, maxLength)
  const masks = methods.some((method) => method === 'mask-one' || method === 'mask-layer')
  const prototype = masks ? await loadPrototypeFor(model.backbone, options.prototypeDir) : undefined
  const material: Material = { model, prototype, provider, threads }
  const choices = {
    ...options,
    backbone: shortDigest(model.backbone.digest),
    prototype: shortDigest(prototype?.digest ?? ''),
    learnedOn: prototype?.learnedOn ?? [],
  }

  const all = planRuns(tasks, methods, seeds, (method) => settingsOf(method, choices))
  const known = new Set(finished.map(keyOf))
  const waiting = all.filter((run) => !known.has(keyOf(run)))
  const skipped = all.length - waiting.length
  say(`${all.length} runs on ${tasks.length} tasks are wanted, ${skipped} are in ${store} already`)
  const load = dataLoader(model, options, say)
  let stored = 0
  let failed = 0
  for (const [at, wanted] of waiting.entries()) {
    const place = `run ${skipped + at + 1} of ${all.length} (${described(wanted)})`
    const secondsAfter = estimateSeconds(waiting.slice(at + 1), finished)
    const run = await runOnce(material, wanted, await load(wanted), {
      onProgress: (progress) => show(progress, place, secondsAfter),
      signal,
    })
    if (run === undefined) break
    if (run instanceof Problem) {
      failed++
      say(`${place}: ${run.message}; it is not stored`)
      continue
    }
    await appendRun(store, run)
    finished.push(run)
    stored++
    say(`${place}: ${scoresText(run)} in ${duration(1000 * run.seconds)}; ${timeLeft(waiting.slice(at + 1), finished)}`)
  }
  return { stored, skipped, failed, stopped: signal.aborted }
}

/** @returns undefined if the run was ended before it was finished, a Problem if it cannot be */
async function runOnce(
  material: Material,
  wanted: PlannedRun,
  tasks: readonly NamedTrainingData[],
  watch: RunControl,
): Promise<FinishedRun | Problem | undefined> {
  const start = performance.now()
  try {
    watch.signal.throwIfAborted()
    const outcome = await trainRun(material, tasks, wanted.seed, wanted.settings, watch)
    watch.signal.throwIfAborted()
    const seconds = Math.round(performance.now() - start) / 1000
    const version = versionOf(wanted.settings)
    const settings = { ...wanted.settings }
    return { format: runFormat, ...wanted, ...outcome, seconds, settings, version, machine: machineOf(material) }
  } catch (error) {
    if (watch.signal.aborted) return undefined
    if (error instanceof Problem && error.code === 'learning_diverged') return error
    throw error
  }
}

/** The tasks of a folder, or those of them that are named. */
async function tasksIn(folder: string, named: readonly string[] | undefined): Promise<readonly string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((error: Error) => {
    throw new Problem('unreadable_file', `${folder} cannot be read: ${error.message}`)
  })
  const there: string[] = []
  for (const { name } of entries) {
    const found = await stat(join(folder, name, 'train.jsonl')).catch(() => undefined)
    if (found?.isFile()) there.push(name)
  }
  there.sort()
  if (there.length === 0)
    throw new Problem('invalid_data', `${folder} has no tasks; expected a folder for each, with train.jsonl in it`)
  const missing = named?.find((task) => !there.includes(task))
  if (missing !== undefined)
    throw new Problem('invalid_setting', `${folder} has no task "${missing}"; it has ${there.join(', ')}`)
  return there.filter((task) => named === undefined || named.includes(task))
}

/** Reads the data of a run; what was read for a seed is kept until the next. */
function dataLoader(model: Model, { data, maxRows }: RunnerOptions, say: (line: string) => void) {
  const kept = new Map<string, NamedTrainingData>()
  let keptSeed: number | undefined
  return async ({ tasks, seed }: PlannedRun): Promise<readonly NamedTrainingData[]> => {
    if (keptSeed !== seed) kept.clear()
    keptSeed = seed
    const loaded: NamedTrainingData[] = []
    for (const id of tasks) {
      const options = { devShare, seed, columns: defaultColumns, maxRows }
      const task =
        kept.get(id) ??
        (await loadNamedTrainingData(model, join(data, id), options, (warning) => say(`warning: ${id}: ${warning}`)))
      kept.set(id, task)
      loaded.push(task)
    }
    return loaded
  }
}

const machineOf = ({ provider, threads }: Material): string =>
  `${cpus()[0]?.model ?? 'unknown'}${provider === 'cuda' ? ' with cuda' : ''}, threads: ${threads || availableParallelism()}, Node ${process.version}`

const described = ({ method, tasks, seed }: PlannedRun): string =>
  `${method}, ${tasks.length === 1 ? tasks[0] : `${tasks.length} tasks`}, seed ${seed}`

const scoresText = ({ scores }: FinishedRun): string =>
  scores.map(({ task, metric, score }) => `${task} ${metric} ${score.toFixed(4)}`).join(', ')

/** What is said of the time that runs will take. */
function timeLeft(waiting: readonly PlannedRun[], finished: readonly FinishedRun[]): string {
  const seconds = estimateSeconds(waiting, finished)
  return seconds === undefined ? 'time left not known yet' : `about ${duration(1000 * seconds)} left`
}
