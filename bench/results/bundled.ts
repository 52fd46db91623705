// Trains the bundled tasks with the defaults of `learn`, and compares each with the file that is bundled now.

import { copyFile, mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { type Static, Type } from 'typebox'
import { readFileAs } from '../../src/formats/file.js'
import { readTaskDescription } from '../../src/learn/training-folder.js'
import { prototypeName, readPrototypeFile } from '../../src/petl/prototype-file.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { Problem } from '../../src/problem.js'
import { settings } from '../../src/settings.js'
import { propetl } from './command.js'
import { masksFolder } from './known-masks.js'
import { signed } from './points.js'
import { shortDigest } from './run.js'
import { appendLine, checkStoreWritable, readLines } from './store.js'

export interface BundledOptions {
  /** A folder with a folder per task: train.jsonl, dev.jsonl, and optionally task.json. */
  readonly data: string
  /** By default all bundled tasks. */
  readonly tasks?: readonly string[]
  readonly maxRows: number
  /** By default the bundled one. */
  readonly prototype?: string
  /** Masks to start from. By default the folder "masks" next to the prototype; without a prototype the bundled masks. */
  readonly masksDir?: string
  /** Where the task files and the file of results are written. */
  readonly out: string
  readonly print: (line: string) => void
}

const number = Type.Number()

const taskLines = {
  format: 'propetl-bundled/1',
  command: 'results bundled',
  schema: Type.Object({
    format: Type.Literal('propetl-bundled/1'),
    task: Type.String(),
    /** The first characters of the SHA-256 of the prototype. */
    prototype: Type.String(),
    metric: Type.String(),
    /** By `evaluate` on the dev rows: of the new file and of the bundled one. */
    score: number,
    bundledScore: number,
    /** Cross-fitted; absent if the problem type has no probabilities. */
    calibrationError: Type.Optional(number),
    /** Name of the mask that training started from, and the epoch that was kept. */
    start: Type.String(),
    epoch: Type.Integer(),
    seconds: number,
    bytes: Type.Integer(),
    bundledBytes: Type.Integer(),
  }),
}
export type BundledRun = Omit<Static<typeof taskLines.schema>, 'format'>

/**
 * Trains the tasks that have no file yet, first those that the prototype was trained on. A task starts from masks of such
 * tasks only, without its own, so that the other tasks stay new to each other and to the masks of few-shot runs.
 * @returns the results of all tasks
 */
export async function trainBundledTasks(options: BundledOptions): Promise<readonly BundledRun[]> {
  const { data, out, print } = options
  const bundledDir = settings.masksDir.value
  const path = options.prototype ?? join(settings.modelDir.value, prototypeName)
  const source = masksFolder(options)
  const store = join(out, 'bundled.jsonl')
  await mkdir(out, { recursive: true })
  await checkStoreWritable(store)
  const { learnedOn = [], digest } = await readPrototypeFile(path)
  const prototype = shortDigest(digest)
  const bundled = await taskFilesIn(bundledDir)
  const tasks = trainingOrder(options.tasks ?? bundled, learnedOn)
  const unknown = tasks.find((task) => !bundled.includes(task))
  if (unknown !== undefined)
    throw new Problem('invalid_setting', `${unknown} is not a bundled task; they are ${bundled.join(', ')}`)
  const finished = (await readLines(store, taskLines)).map(({ format: _, ...line }) => line)
  const results = new Map(finished.filter((line) => line.prototype === prototype).map((line) => [line.task, line]))
  const folder = await mkdtemp(join(tmpdir(), 'propetl-bundled-'))
  try {
    for (const task of tasks) {
      const file = join(out, `${task}.safetensors`)
      if (results.has(task) && (await stat(file).catch(() => undefined)) !== undefined) continue
      const masks = join(folder, task)
      await copyStarts(
        { from: source, newer: out, to: masks },
        learnedOn.filter((other) => other !== task),
      )
      const result = await trainBundledTask(
        task,
        { ...options, data: join(data, task) },
        { path, prototype, masks, bundledDir, file },
      )
      await appendLine(store, taskLines, result)
      results.set(task, result)
      const count = tasks.filter((task) => results.has(task)).length
      print(`${count} of ${tasks.length}: ${describe(result)}`)
    }
  } finally {
    await rm(folder, { recursive: true })
  }
  return Array.from(results.values())
}

/** Tasks that the prototype was trained on come first, because the others may start from their masks. */
export const trainingOrder = (tasks: readonly string[], learnedOn: readonly string[]): readonly string[] => [
  ...tasks.filter((task) => learnedOn.includes(task)),
  ...tasks.filter((task) => !learnedOn.includes(task)),
]

/** The ids of the task files of a folder; none if there is no folder. */
const taskFilesIn = async (folder: string): Promise<readonly string[]> =>
  (await readdir(folder).catch(() => []))
    .filter((name) => name.endsWith('.safetensors'))
    .map((name) => basename(name, '.safetensors'))
    .sort()

/** Copies the masks of tasks into a new folder. Newer ones replace those of the first folder. */
async function copyStarts(
  { from, newer, to }: Readonly<Record<'from' | 'newer' | 'to', string>>,
  tasks: readonly string[],
): Promise<void> {
  await mkdir(to)
  for (const folder of [from, newer])
    for (const task of await taskFilesIn(folder))
      if (tasks.includes(task)) await copyFile(join(folder, `${task}.safetensors`), join(to, `${task}.safetensors`))
}

async function trainBundledTask(
  task: string,
  { data, maxRows, print }: BundledOptions,
  {
    path,
    prototype,
    masks,
    bundledDir,
    file,
  }: Readonly<Record<'path' | 'prototype' | 'masks' | 'bundledDir' | 'file', string>>,
): Promise<BundledRun> {
  const bundledFile = join(bundledDir, `${task}.safetensors`)
  const { description } = await readFileAs(bundledFile, 'unreadable_file', (bytes) => readTaskFile(bytes))
  const { problem, metric } = await readTaskDescription(join(data, 'task.json'))
  const dev = join(data, 'dev.jsonl')
  const unfinished = `${file}.part`
  const { report: learned, seconds } = await propetl(
    ...['learn', join(data, 'train.jsonl'), '--dev', dev, '--out', unfinished, '--max-rows', String(maxRows)],
    ...['--prototype', path, '--start-masks', masks, '--no-baseline'],
    ...(problem === undefined ? [] : ['--problem-type', problem]),
    ...(metric === undefined ? [] : ['--metric', metric]),
    ...(description === undefined ? [] : ['--description', description]),
  )
  const evaluate = async (taskFile: string, flags: readonly string[]) =>
    (await propetl('evaluate', taskFile, dev, '--metric', learned.metric as string, ...flags)).report.score as number
  const score = await evaluate(unfinished, ['--prototype', path])
  if (score !== learned.score)
    print(`warning: ${task}: learn reports ${learned.score}, but evaluate on its file ${score}`)
  const result: BundledRun = {
    ...{ task, prototype, score, bundledScore: await evaluate(bundledFile, []), seconds },
    metric: learned.metric as string,
    ...(learned.calibration_error !== undefined && { calibrationError: learned.calibration_error as number }),
    ...{ start: learned.start as string, epoch: learned.epoch as number },
    bytes: (await stat(unfinished)).size,
    bundledBytes: (await stat(bundledFile)).size,
  }
  await rename(unfinished, file)
  return result
}

const describe = ({ task, metric, score, bundledScore, calibrationError, start, epoch, seconds }: BundledRun): string =>
  `${task}: ${metric} ${score.toFixed(4)}, of the bundled file ${bundledScore.toFixed(4)}; calibration error ` +
  `${calibrationError?.toFixed(4) ?? 'none'}; from ${start}, epoch ${epoch}; ${seconds.toFixed(0)} s`

/** The results as a Markdown table. Calibration errors above the bound are marked. */
export function bundledTable(results: readonly BundledRun[]): string {
  const rows = results
    .toSorted((a, b) => (a.task < b.task ? -1 : 1))
    .map(({ task, metric, score, bundledScore, calibrationError, start, epoch, seconds, bytes, bundledBytes }) => {
      const gain = 100 * (score - bundledScore)
      const error = calibrationError === undefined ? '' : calibrationError.toFixed(3)
      const cells = [
        task,
        metric.replaceAll('_', ' '),
        score.toFixed(4),
        bundledScore.toFixed(4),
        signed(gain),
        (calibrationError ?? 0) > maxCalibrationError ? `**${error}**` : error,
        `${start}, epoch ${epoch}`,
        seconds.toFixed(0),
        `${bytes.toLocaleString('en-US')} (${bundledBytes.toLocaleString('en-US')})`,
      ]
      return `| ${cells.join(' | ')} |`
    })
  return [
    '| Task | Metric | Score | Bundled file | Gain, points | ECE | Start | Seconds | Bytes (bundled) |',
    '|---|---|---:|---:|---:|---:|---|---:|---:|',
    ...rows,
  ].join('\n')
}

/** The largest expected calibration error that a bundled task should have. */
const maxCalibrationError = 0.05
