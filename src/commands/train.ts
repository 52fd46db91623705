// `propetl train`: trains a prototype on one or several tasks, or a baseline to compare it with.

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Backbone } from '../backbones/backbone.js'
import { defaultPooling, defaultTextPrefix, loadModelForTraining } from '../learn/model.js'
import { type NamedTrainingData, type Trained, trainPrototype } from '../learn/prototype-training.js'
import { backboneBits } from '../learn/tensors.js'
import { loadNamedTrainingData } from '../learn/training-folder.js'
import { methodDefaults, type TrainingMethod } from '../learn/training-methods.js'
import { type ModuleKind, petlKinds } from '../petl/kinds.js'
import { prototypeName } from '../petl/prototype-file.js'
import type { Combining } from '../petl/task.js'
import { Problem } from '../problem.js'
import { describeError } from '../store/causes.js'
import { type Fact, factLines, listed } from './fact-lines.js'
import { Interrupted, untilInterrupted } from './interrupt.js'
import { findModelFiles } from './model-directory.js'
import { moduleOf } from './module-options.js'
import { checkWritable, writeAtomically } from './output-file.js'
import { duration, ProgressLine } from './progress-line.js'
import { type CommonTrainingFlags, columnsOf } from './training-options.js'

export interface TrainFlags extends Omit<CommonTrainingFlags, 'dev' | 'problemType' | 'metric'> {
  readonly out?: string
  readonly method?: TrainingMethod
  readonly combine: Exclude<Combining, 'none'>
  readonly finishEpochs: number
  readonly module: ModuleKind
  readonly density?: number
  readonly scoreRate?: number
  readonly weightRate?: number
  readonly json?: boolean
}

/**
 * Trains on one or several tasks. Each is a data file, or a folder with train.jsonl and optionally dev.jsonl and task.json.
 * @returns the text to print
 * @throws Problem; Interrupted if training was stopped before its first step, and then nothing is written
 */
export async function train(paths: readonly string[], flags: TrainFlags): Promise<string> {
  const start = performance.now()
  const line = new ProgressLine(process.stderr)
  const method = flags.method ?? (paths.length > 1 ? 'multi' : 'single')
  const defaults = methodDefaults[method]
  const module = moduleOf(flags)
  if (flags.out !== undefined) {
    if (method === 'plain' || method === 'head')
      throw new Problem('invalid_setting', `method "${method}" makes no prototype to write; remove --out`)
    await prepareFolder(flags.out)
  }
  const { directory } = await findModelFiles(flags)
  const model = await loadModelForTraining(directory, flags.maxLength)
  const tasks: NamedTrainingData[] = []
  const { devShare, seed, maxRows, textPrefix = defaultTextPrefix(model.backbone) } = flags
  const options = {
    ...{ devShare, seed, columns: columnsOf(flags) },
    ...(maxRows !== undefined && { maxRows }),
    ...(textPrefix !== undefined && { textPrefix }),
  }
  const onWarning = (warning: string) => line.print(`warning: ${warning}`)
  for (const path of paths)
    tasks.push(await loadNamedTrainingData(model, path, options, onWarning, (file, rows) => line.reading(file, rows)))
  const duplicate = tasks.find(({ id }, at) => tasks.findIndex((task) => task.id === id) !== at)
  if (duplicate)
    throw new Problem(
      'invalid_setting',
      `two tasks have the name "${duplicate.id}"; rename one of the files or folders`,
    )
  for (const { id, train, dev, space } of tasks)
    line.print(
      `${id}: ${train.examples.length} training examples, ${dev.examples.length} dev examples; ${space.problem.replaceAll('_', ' ')}`,
    )

  const trained = await untilInterrupted(
    (signal) =>
      trainPrototype(
        model.backbone,
        tasks,
        {
          ...flags,
          pooling: flags.pooling ?? defaultPooling(model.backbone),
          method,
          module,
          density: flags.density ?? defaults.density,
          rates: {
            weights: flags.weightRate ?? petlKinds[flags.module].weightRate,
            scores: flags.scoreRate ?? defaults.scoreRate,
            heads: flags.headRate ?? 0.005,
          },
        },
        { onProgress: (progress) => line.show(progress), signal },
      ),
    () => line.print('stopping after the current step; press Ctrl-C again to end at once'),
  )
  if (trained.result.stopped && trained.result.steps === 0)
    throw new Interrupted('interrupted before training began; nothing was written')
  line.print('')
  const written = flags.out === undefined ? [] : await writeFiles(flags.out, trained)
  const run = { method, backbone: model.backbone, written, took: performance.now() - start }
  return flags.json ? jsonReport(trained, run) : report(trained, run)
}

async function prepareFolder(folder: string): Promise<void> {
  await mkdir(join(folder, 'masks'), { recursive: true }).catch((error: Error) => {
    throw new Problem('unwritable_file', `the folder ${folder} cannot be created: ${describeError(error)}`)
  })
  await checkWritable(join(folder, prototypeName))
}

interface Written {
  readonly path: string
  readonly bytes: number
}

async function writeFiles(folder: string, { prototype, tasks }: Trained): Promise<Written[]> {
  const files = [
    ...(prototype ? [[join(folder, prototypeName), prototype] as const] : []),
    ...tasks.flatMap(({ id, file }) => (file ? [[join(folder, 'masks', `${id}.safetensors`), file] as const] : [])),
  ]
  for (const [path, bytes] of files) await writeAtomically(path, bytes)
  return files.map(([path, { byteLength }]) => ({ path, bytes: byteLength }))
}

interface Run {
  readonly method: TrainingMethod
  readonly backbone: Backbone
  readonly written: readonly Written[]
  /** Milliseconds. */
  readonly took: number
}

function report({ result, tasks, storage }: Trained, { method, backbone, written, took }: Run): string {
  const bits = (count: number) => `${count.toLocaleString('en-US')} bits (${percent(count / backboneBits(backbone))})`
  return factLines([
    ['method', method],
    ...tasks.map(({ id, metric, score }): Fact => [id, `dev ${metric} ${score.toFixed(4)}`]),
    ['mean', `${result.score.toFixed(4)}, epoch ${result.bestEpoch}${result.stopped ? ', stopped' : ''}`],
    ['storage, shared', `${bits(storage.shared)} of the backbone's`],
    ['storage, per task', bits(storage.each)],
    ...listed(
      'files',
      written.map(({ path, bytes }) => `${path}, ${bytes.toLocaleString('en-US')} bytes`),
    ),
    ['took', duration(took)],
  ])
}

function jsonReport({ result, tasks, storage }: Trained, { method, backbone, written, took }: Run): string {
  return JSON.stringify({
    method,
    tasks: tasks.map(({ id, metric, score }) => ({ task: id, metric, score })),
    score: result.score,
    epoch: result.bestEpoch,
    epochs: result.epochs,
    stopped: result.stopped,
    storage_bits: { shared: storage.shared, each: storage.each, backbone: backboneBits(backbone) },
    files: written,
    seconds: took / 1000,
  })
}

const percent = (share: number) => `${(100 * share).toFixed(3)} %`
