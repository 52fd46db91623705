// Few labelled examples: what the commands learn and evaluate give users, compared with other methods on the same rows. The
// tasks are ones that the prototype was not trained on, and only masks of tasks that it was trained on are known.

import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { duration } from '../../src/commands/progress-line.js'
import { wholeSet } from '../../src/learn/example-set.js'
import { knownTasks } from '../../src/learn/learn-task.js'
import { defaultTextPrefix, loadModelForTraining, loadPrototypeFor } from '../../src/learn/model.js'
import { Random } from '../../src/learn/random.js'
import { noMask } from '../../src/learn/starting-masks.js'
import { prototypeName } from '../../src/petl/prototype-file.js'
import { Problem } from '../../src/problem.js'
import { describeVersion } from '../report.js'
import { propetl } from './command.js'
import {
  accuracyOfHead,
  accuracyOfLogisticRegression,
  accuracyOfPlainAdapter,
  bareVectors,
  type JudgedVectors,
  judgedVectors,
  loadSample,
  type Material,
  trainHeadAlone,
  trainWithMask,
  writeTask,
} from './few-shot-methods.js'
import {
  appendFewShot,
  type FewShotRun,
  hasMask,
  keyOf,
  readFewShot,
  type SampleSize,
  type Setup,
  setupOf,
  sizeText,
  versionOf,
} from './few-shot-run.js'
import { masksFolder } from './known-masks.js'
import { shortDigest } from './run.js'
import { checkStoreWritable, linesOf } from './store.js'

export interface FewShotOptions {
  readonly data: string
  readonly tasks: readonly string[]
  readonly sizes: readonly SampleSize[]
  readonly samples: number
  /** Samples with more rows are left out. */
  readonly maxRows: number
  /** Whether to train a plain adapter too, where a sample has a number of rows in all. */
  readonly plain?: boolean
  readonly modelDir: string
  /** By default that of the model's directory. */
  readonly prototype?: string
  /** By default the folder "masks" next to the prototype; without a prototype the bundled masks. */
  readonly masksDir?: string
  readonly textPrefix?: string
  readonly store: string
  readonly print: (line: string) => void
  /** Called after each run. */
  readonly onStored: () => Promise<void>
}

/** Most rows that a task is scored on. */
const testRows = 1_000

/** A sample that is planned. */
interface Cell extends Pick<FewShotRun, 'task' | 'size' | 'sample' | 'version' | 'trainRows'> {
  readonly train: readonly string[]
  /** The stored run, if it lacks only the plain adapter. */
  readonly stored: FewShotRun | undefined
  readonly plain: boolean
}

/** Runs the samples that are not in the store yet, smallest first. */
export async function runFewShot(options: FewShotOptions): Promise<void> {
  const { data, tasks, samples, sizes, maxRows, plain = false, store, print } = options
  await checkStoreWritable(store)
  const finished = new Map((await readFewShot(store)).map((run) => [keyOf(run), run]))
  const folder = await mkdtemp(join(tmpdir(), 'propetl-few-shot-'))
  try {
    const { material, setup, flags } = await loadMaterial(options, folder)
    const version = versionOf(setup)
    const rows = new Map<string, TaskRows>()
    for (const task of tasks) rows.set(task, await readTaskRows(join(data, task)))
    const planned = Array.from({ length: samples }, (_, at) => at + 1).flatMap((sample) =>
      sizes.flatMap((size) =>
        tasks.map((task): Cell => {
          const train = drawSample(rows.get(task)?.train ?? [], size, sample)
          const key = { task, size, sample, version }
          const stored = finished.get(keyOf(key))
          return { ...key, train, trainRows: train.length, stored, plain: plain && size.each === 'all' }
        }),
      ),
    )
    const tooLarge = planned.filter(({ trainRows }) => trainRows > maxRows)
    const todo = planned.filter(
      ({ trainRows, stored, plain }) =>
        trainRows <= maxRows && (!stored || (plain && stored.plainAdapter === undefined)),
    )
    print(
      `${planned.length} samples: ${planned.length - tooLarge.length - todo.length} are stored, ${todo.length} are to do, ` +
        `${tooLarge.length} have more than ${maxRows} rows and are left out`,
    )
    const vectors = new Map<string, JudgedVectors>()
    for (const [at, cell] of todo.entries()) {
      const { task } = cell
      const test = rows.get(task)?.test ?? []
      const files = { train: join(folder, 'train.jsonl'), test: join(folder, 'test.jsonl') }
      await writeFile(files.train, `${cell.train.join('\n')}\n`)
      await writeFile(files.test, `${test.join('\n')}\n`)
      const start = performance.now()
      const scores = cell.stored ?? (await runMethods(material, cell, { files, folder, flags }, vectors, print))
      const plainAdapter = cell.plain
        ? { plainAdapter: await accuracyOfPlainAdapter(material, files.train, files.test) }
        : {}
      const run: FewShotRun = {
        ...{ task, size: cell.size, sample: cell.sample, trainRows: cell.trainRows },
        ...scores,
        ...plainAdapter,
        allSeconds: (cell.stored?.allSeconds ?? 0) + (performance.now() - start) / 1000,
        ...{ setup, version, program: describeVersion() },
      }
      await appendFewShot(store, run)
      finished.set(keyOf(run), run)
      await options.onStored()
      const left = secondsLeft(todo.slice(at + 1), Array.from(finished.values()))
      print(`${at + 1} of ${todo.length}: ${describe(run)}; about ${duration(1000 * left)} left`)
    }
  } finally {
    await rm(folder, { recursive: true })
  }
}

const describe = (run: FewShotRun): string => {
  const shown = (score: number) => score.toFixed(3)
  const plain = run.plainAdapter === undefined ? '' : `, plain adapter ${shown(run.plainAdapter)}`
  return (
    `${run.task}, ${sizeText(run.size)}, sample ${run.sample}: learn ${shown(run.learn)} (from ${run.start}, epoch ` +
    `${run.epoch}, ${run.seconds.toFixed(0)} s), head alone ${shown(run.headAlone)}, mask ${shown(run.mask)}, ` +
    `logistic regression ${shown(run.logisticRegression)}${plain}`
  )
}

/** Estimates by finished runs of the same task and size, or else of the most similar number of rows. */
export function secondsLeft(
  waiting: readonly Pick<Cell, 'task' | 'size' | 'trainRows'>[],
  finished: readonly FewShotRun[],
): number {
  const meanSeconds = (runs: readonly FewShotRun[]) =>
    runs.reduce((sum, { allSeconds }) => sum + allSeconds, 0) / runs.length
  return waiting.reduce((sum, { task, size, trainRows }) => {
    const same = finished.filter((run) => run.task === task && sizeText(run.size) === sizeText(size))
    if (same.length > 0) return sum + meanSeconds(same)
    const distance = (run: FewShotRun) => Math.abs(Math.log(run.trainRows / trainRows))
    const nearest = Math.min(...finished.map(distance))
    return sum + meanSeconds(finished.filter((run) => distance(run) === nearest))
  }, 0)
}

interface Loaded {
  readonly material: Material
  readonly setup: Setup
  /** The flags of learn and evaluate for the model. */
  readonly flags: { readonly model: readonly string[]; readonly learn: readonly string[] }
}

/** @throws Problem `invalid_setting` if the prototype was trained on a task that is to be measured */
async function loadMaterial(options: FewShotOptions, folder: string): Promise<Loaded> {
  const { modelDir, tasks } = options
  const model = await loadModelForTraining(modelDir, undefined)
  const path = options.prototype ?? join(modelDir, prototypeName)
  const prototype = await loadPrototypeFor(model.backbone, path)
  const { learnedOn = [] } = prototype
  const seen = tasks.find((task) => learnedOn.includes(task))
  if (seen !== undefined)
    throw new Problem(
      'invalid_setting',
      `the prototype was trained on ${seen}; name tasks that are new to it with --tasks`,
    )
  const source = masksFolder(options)
  const masks = join(folder, 'masks')
  await mkdir(masks)
  const digests: Record<string, string> = {}
  for (const [id, { digest }] of await knownTasks(source, prototype))
    if (learnedOn.includes(id)) {
      await copyFile(join(source, `${id}.safetensors`), join(masks, `${id}.safetensors`))
      digests[id] = shortDigest(digest)
    }
  const textPrefix = options.textPrefix ?? defaultTextPrefix(model.backbone) ?? ''
  return {
    material: { model, prototype, known: await knownTasks(masks, prototype), textPrefix },
    setup: setupOf({
      ...{ model: basename(modelDir), backbone: shortDigest(model.backbone.digest) },
      ...{ prototype: shortDigest(prototype.digest), learnedOn: [...learnedOn], masks: digests, textPrefix },
    }),
    flags: {
      model: ['--model-dir', modelDir, '--prototype', path],
      learn: ['--start-masks', masks, '--no-baseline', ...(textPrefix === '' ? [] : ['--text-prefix', textPrefix])],
    },
  }
}

/** The lines of a task's files. */
interface TaskRows {
  readonly train: readonly string[]
  readonly test: readonly string[]
}

const readTaskRows = async (folder: string): Promise<TaskRows> => ({
  train: await linesOf(join(folder, 'train.jsonl')),
  test: (await linesOf(join(folder, 'dev.jsonl'))).slice(0, testRows),
})

const labelOf = (line: string): string => String((JSON.parse(line) as { label: unknown }).label)

/** Draws rows at random, in the same order for each size, so that a smaller sample is a part of a larger one. */
export function drawSample(rows: readonly string[], size: SampleSize, sample: number): readonly string[] {
  const taken = new Map<string, number>()
  return Array.from(new Random(sample, 'few-shot rows').order(rows.length), (at) => rows[at] ?? '').filter((line) => {
    const key = size.each === 'all' ? '' : labelOf(line)
    const count = taken.get(key) ?? 0
    taken.set(key, count + 1)
    return count < size.count
  })
}

interface Place {
  readonly files: { readonly train: string; readonly test: string }
  readonly folder: string
  readonly flags: Loaded['flags']
}

type Scores = Pick<
  FewShotRun,
  | 'testRows'
  | 'learn'
  | 'headAlone'
  | 'mask'
  | 'logisticRegression'
  | 'start'
  | 'epoch'
  | 'calibrationError'
  | 'secondsToHead'
  | 'seconds'
>

/** @param vectors of the test rows under the bare backbone, by task; they are computed once */
async function runMethods(
  material: Material,
  { task }: Cell,
  { files, folder, flags }: Place,
  vectors: Map<string, JudgedVectors>,
  print: (line: string) => void,
): Promise<Scores> {
  const evaluate = (file: string) => propetl('evaluate', file, files.test, '--metric', 'accuracy', ...flags.model)
  const out = join(folder, 'task.safetensors')
  const { report, secondsToHead, seconds } = await propetl(
    ...['learn', files.train, '--out', out, ...flags.model, ...flags.learn],
  )
  if (secondsToHead === undefined) print('learn did not report when its head was ready')
  const learned = (await evaluate(out)).report
  const chosen = { start: report.start as string, epoch: report.epoch as number }
  const data = await loadSample(material, files.train)
  const judged = vectors.get(task) ?? (await judgedVectors(material, files.test, data))
  vectors.set(task, judged)
  const learn = learned.score as number
  const mask = async () => {
    const file = await writeTask(join(folder, 'mask.safetensors'), await trainWithMask(material, data))
    return (await evaluate(file)).report.score as number
  }
  const { hiddenSize } = material.model.backbone.dims
  return {
    testRows: judged.labels.length,
    learn,
    headAlone: accuracyOfHead((await trainHeadAlone(material, data)).file, judged),
    // The mask that learn chose is the best one.
    mask: hasMask(chosen, noMask) ? learn : await mask(),
    logisticRegression: await accuracyOfLogisticRegression(
      await bareVectors(material, data.space, wholeSet(data.train.set)),
      data.space.labels,
      hiddenSize,
      judged,
    ),
    ...chosen,
    calibrationError: (learned.calibration as { error: number }).error,
    ...(secondsToHead !== undefined && { secondsToHead }),
    seconds,
  }
}
