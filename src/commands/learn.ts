// `propetl learn`: trains a task on a data file and writes its task file.

import { basename, dirname, extname, join } from 'node:path'
import { checkDataFile, isDataFileName } from '../learn/file-rows.js'
import type { LabelSpace } from '../learn/label-space.js'
import { loadModel, loadPrototypeFor, loadTaskFile } from '../learn/model.js'
import { type NewTask, trainNewTask } from '../learn/new-task.js'
import { hasHead } from '../learn/problem-traits.js'
import { loadTrainingData } from '../learn/training-data.js'
import { checkTaskFitsPrototype } from '../petl/combining.js'
import type { Combining } from '../petl/task.js'
import { readTaskFile } from '../petl/task-file.js'
import { Problem } from '../problem.js'
import { Interrupted, untilInterrupted } from './interrupt.js'
import { checkModelDirectory } from './model-directory.js'
import { checkWritable, writeAtomically } from './output-file.js'
import { duration, ProgressLine } from './progress-line.js'
import { type CommonTrainingFlags, columnsOf } from './training-options.js'
import { shellWord, uploadCommand } from './upload-command.js'

export interface LearnFlags extends CommonTrainingFlags {
  readonly density: number
  readonly scoreRate: number
  readonly out: string
  readonly maskRows: 'layer' | 'one'
  readonly combine: Combining
  readonly baseline: boolean
  readonly threshold?: number
  readonly normalize: boolean
  readonly description?: string
  readonly resume?: string
  readonly json?: boolean
}

/**
 * Trains a task and writes its file. The first Ctrl-C keeps the best epoch so far, the second ends the process.
 * @returns the text to print
 * @throws Problem; Interrupted if training was stopped before its first step, and then nothing is written
 */
export async function learn(path: string, flags: LearnFlags): Promise<string> {
  const start = performance.now()
  const line = new ProgressLine(process.stderr)
  await checkOut(path, flags.out)
  await checkDataFile(path)
  checkModelDirectory(flags.modelDir, true)
  const model = await loadModel(flags.modelDir, flags.maxLength)
  const prototype = await loadPrototypeFor(model.backbone)
  const resume = flags.resume === undefined ? undefined : await loadTaskFile(flags.resume, prototype)
  const data = await loadTrainingData(
    model,
    {
      data: path,
      devShare: flags.devShare,
      columns: columnsOf(flags),
      seed: flags.seed,
      ...(flags.dev !== undefined && { dev: flags.dev }),
      ...(flags.problemType && { problem: flags.problemType }),
      ...(flags.metric && { metric: flags.metric }),
      ...(flags.threshold !== undefined && { threshold: flags.threshold }),
      ...(flags.maxRows !== undefined && { maxRows: flags.maxRows }),
    },
    (warning) => line.print(`warning: ${warning}`),
    (file, rows) => line.reading(file, rows),
  )
  const { train, dev, space } = data
  const problem = space.problem.replaceAll('_', ' ')
  const labels = space.range ? `labels from ${space.range.join(' to ')}` : `${space.labels.length} labels`
  line.print(`${train.examples.length} training examples, ${dev.examples.length} dev examples; ${problem}, ${labels}`)

  const { description, resume: _, ...rest } = flags
  const options = {
    ...rest,
    rates: { scores: flags.scoreRate, heads: flags.headRate },
    ...(description !== undefined && { description }),
    ...(resume && { resume }),
  }
  const task = await untilInterrupted(
    (signal) =>
      trainNewTask(model, prototype, data, options, {
        onProgress: (progress) => line.show(progress),
        onBaseline: (done, all) => line.baseline(done, all),
        signal,
      }),
    () => line.print('stopping after the current step; press Ctrl-C again to end at once'),
  )
  if (task.result.stopped && task.result.steps === 0)
    throw new Interrupted('interrupted before training began; nothing was written')
  checkTaskFitsPrototype(readTaskFile(task.file), prototype)
  await writeAtomically(flags.out, task.file)
  line.print('')
  const took = performance.now() - start
  return flags.json ? jsonReport(task, flags, took) : report(task, space, flags, took)
}

/** @throws Problem `invalid_setting`, `unwritable_file` */
async function checkOut(data: string, out: string): Promise<void> {
  if (isDataFileName(out))
    throw new Problem(
      'invalid_setting',
      `--out ${out} is the name of a data file; expected the task file to write, as in: ` +
        `propetl learn ${shellWord(isDataFileName(data) ? data : out)} --out ${shellWord(taskFileFor(out))}`,
    )
  await checkWritable(out)
}

const taskFileFor = (data: string) => join(dirname(data), `${basename(data, extname(data))}.safetensors`)

const maxShownConfusions = 5

function report(
  { file, result, metric, headOnly, confusions }: NewTask,
  { problem }: LabelSpace,
  flags: LearnFlags,
  took: number,
): string {
  const { bestEpoch, epochs } = result
  const initial = epochs.length === 0 ? 'before the first epoch ended' : 'as it was before this run'
  const epoch = bestEpoch === 0 ? initial : `epoch ${bestEpoch} of ${epochs.length}`
  const facts: [string, string][] = [
    [`dev ${metric}`, `${result.score.toFixed(4)} (${epoch}${result.stopped ? ', stopped' : ''})`],
    ...(headOnly === undefined
      ? []
      : [[hasHead(problem) ? 'head without mask' : 'bare backbone', headOnly.toFixed(4)] as [string, string]]),
    ...confusions
      .slice(0, maxShownConfusions)
      .map(({ actual, predicted, rows, of }, at): [string, string] => [
        at === 0 ? 'most confused' : '',
        `${rows} of ${of} "${actual}" predicted as "${predicted}"`,
      ]),
    ['file', `${flags.out}, ${file.byteLength.toLocaleString('en-US')} bytes`],
    ['took', duration(took)],
    ...uploadCommand(flags.out, process.env).map((text, at): [string, string] => [at === 0 ? 'put it live' : '', text]),
  ]
  return facts.map(([name, value]) => `${name.padEnd(22)} ${value}`).join('\n')
}

function jsonReport({ file, result, metric, headOnly, confusions }: NewTask, flags: LearnFlags, took: number): string {
  return JSON.stringify({
    file: flags.out,
    bytes: file.byteLength,
    metric,
    score: result.score,
    ...(headOnly !== undefined && { head_only: headOnly }),
    epoch: result.bestEpoch,
    epochs: result.epochs,
    stopped: result.stopped,
    confusions,
    seconds: took / 1000,
  })
}
