// `propetl learn`: trains a task on a data file and writes its task file.

import { basename, dirname, extname, join } from 'node:path'
import { checkDataFile, isDataFileName } from '../data/file-rows.js'
import type { LabelSpace } from '../data/label-space.js'
import { describeFile, describeTags } from '../data/survey-report.js'
import { howToMakePrototype } from '../hub/find-model.js'
import { describeConfusion } from '../learn/confusions.js'
import type { ClassWeighting } from '../learn/decisions.js'
import { learnTask } from '../learn/learn-task.js'
import type { Metric } from '../learn/metrics.js'
import type { NewTask, NewTaskResult } from '../learn/new-task.js'
import { hasHead } from '../learn/problem-traits.js'
import { scoresAsJson, shownScore } from '../learn/score-table.js'
import { noMask } from '../learn/starting-masks.js'
import type { TrainingData } from '../learn/training-data.js'
import type { Fold } from '../learn/validation.js'
import type { Combining } from '../petl/task.js'
import { Problem } from '../problem.js'
import { settings } from '../settings.js'
import { type Fact, factLines, listed } from './fact-lines.js'
import { Interrupted, untilInterrupted } from './interrupt.js'
import { findModelFiles, type ModelFiles } from './model-directory.js'
import { checkWritable, writeAtomically } from './output-file.js'
import { duration, ProgressLine } from './progress-line.js'
import { type CommonTrainingFlags, columnsOf } from './training-options.js'
import { shellWord, uploadCommand } from './upload-command.js'

export interface LearnFlags extends CommonTrainingFlags {
  readonly density: number
  /** Seconds. */
  readonly timeBudget?: number
  readonly scoreRate?: number
  readonly startMasks?: string
  readonly out: string
  readonly maskRows: 'layer' | 'one'
  readonly combine: Combining
  readonly baseline: boolean
  readonly threshold?: number
  readonly classWeights: ClassWeighting
  readonly normalize: boolean
  readonly description?: string
  readonly resume?: string
  readonly json?: boolean
}

/**
 * Trains a task and writes its file. The first Ctrl-C keeps the best task so far, the second ends the process.
 * @returns the text to print
 * @throws Problem; Interrupted if there was no task yet, and then nothing is written
 */
export async function learn(path: string, flags: LearnFlags): Promise<string> {
  const start = performance.now()
  const line = new ProgressLine(process.stderr)
  await checkOut(path, flags.out)
  await checkDataFile(path)
  const files = await findModelFiles(flags)
  return untilInterrupted(
    async (signal) => {
      const { task, space } = await trainFrom(path, flags, files, line, signal).catch((error: unknown) => {
        if (signal.aborted) throw new Interrupted('interrupted before there was a task; nothing was written')
        throw error
      })
      await writeAtomically(flags.out, task.file)
      line.print('')
      const took = performance.now() - start
      return flags.json ? jsonReport(task, flags, took) : report(task, space, flags, took)
    },
    () => line.print('stopping as soon as possible; press Ctrl-C again to end at once'),
  )
}

async function trainFrom(
  path: string,
  flags: LearnFlags,
  files: ModelFiles,
  line: ProgressLine,
  signal: AbortSignal,
): Promise<{ readonly task: NewTask; readonly space: LabelSpace }> {
  const { resume, timeBudget, scoreRate, headRate, problemType, startMasks, prototype: _, ...rest } = flags
  const { task, data } = await learnTask(
    {
      ...rest,
      directory: files.directory,
      prototypeFile: files.prototype,
      startMasks: startMasks ?? settings.masksDir.value,
      resumeFile: resume,
      data: path,
      columns: columnsOf(flags),
      ...(problemType && { problem: problemType }),
      rates: {
        ...(scoreRate !== undefined && { scores: scoreRate }),
        ...(headRate !== undefined && { heads: headRate }),
      },
      ...(timeBudget !== undefined && { timeBudget: timeBudget * 1000 }),
    },
    {
      onWarning: (warning) => line.print(`warning: ${warning}`),
      onReading: (file, rows) => line.reading(file, rows),
      onSurvey: (survey) => line.print(describeFile(survey)),
      onData: (data) => {
        if (files.prototype === undefined)
          line.print(
            `${flags.modelDir} has no prototype, so the task gets a head without a mask. ${howToMakePrototype(flags.modelDir)}`,
          )
        line.print(describeData(data))
      },
      onValidation: ({ train, folds }) => line.print(describeValidation(train.examples.length, folds)),
      onProgress: (progress) => line.show(progress),
      onStartProgress: (progress) => line.comparing(progress),
      onBaseline: (mask, score, metric) =>
        line.print(`${describeHead(mask, metric, score)}; next, known masks are compared`),
      onStart: (mask, score, metric) =>
        line.print(`${describeHead(mask, metric, score)}${files.prototype ? '; next, a mask is trained' : ''}`),
      signal,
    },
  )
  return { task, space: data.space }
}

function describeData({ train, dev, space }: TrainingData): string {
  const problem = space.problem.replaceAll('_', ' ')
  const labels = space.range ? `labels from ${space.range.join(' to ')}` : `${space.labels.length} labels`
  const scheme = space.tagScheme === undefined ? '' : `; tags in ${describeTags(space.tagScheme)}`
  return `${train.examples.length + dev.examples.length} examples; ${problem}, ${labels}${scheme}`
}

const describeValidation = (examples: number, folds: readonly Fold[]): string =>
  folds.length > 1
    ? `few examples: ${folds.length}-fold cross-validation instead of a dev part`
    : `${examples} to train on, ${folds[0]?.heldOut.examples.length} held out as the dev part`

/** @throws Problem `invalid_setting`, `unwritable_file` */
async function checkOut(data: string, out: string): Promise<void> {
  if (isDataFileName(out))
    throw new Problem(
      'invalid_setting',
      `--out ${shellWord(out)} is the name of a data file; expected the task file to write, as in: ` +
        `propetl learn ${shellWord(isDataFileName(data) ? data : out)} --out ${shellWord(taskFileFor(out))}`,
    )
  await checkWritable(out)
}

const taskFileFor = (data: string) => join(dirname(data), `${basename(data, extname(data))}.safetensors`)

const describeHead = (mask: string, metric: Metric, score: number): string =>
  `a head on ${describeMask(mask)} is ready: ${metric} ${score.toFixed(4)}`

const describeMask = (name: string): string => (name === noMask ? 'the bare backbone' : `the mask of ${name}`)

/** Where the mask of a task file comes from. */
function maskOrigin({ start, bestEpoch, epochs, stopped }: NewTaskResult): string {
  const because = (nothingBetter: string) => (stopped ? ', interrupted' : nothingBetter)
  if (bestEpoch > 0)
    return `${start === undefined ? '' : `started from ${start}, `}epoch ${bestEpoch} of ${epochs}${because('')}`
  if (start === noMask) return `none${because('; no mask was better than a head alone')}`
  return `${start === undefined ? 'as before' : `that of ${start}`}${because('; no epoch was better')}`
}

const maxShownConfusions = 5

function report(
  { file, result, scores, calibrationError, headOnly, confusions }: NewTask,
  { problem }: LabelSpace,
  flags: LearnFlags,
  took: number,
): string {
  const { folds, heldOut } = result
  const by = folds > 1 ? `${folds}-fold cross-validation` : 'dev part'
  const facts: Fact[] = [
    ['held out', `${heldOut} examples, ${by}; 95 % confidence intervals in parentheses`],
    ...scores.map((score): Fact => [score.metric, shownScore(score)]),
    ...(calibrationError === undefined ? [] : [['calibration error', calibrationError.toFixed(4)] as const]),
    ['mask', maskOrigin(result)],
    ...(headOnly === undefined
      ? []
      : [[hasHead(problem) ? 'head without mask' : 'bare backbone', headOnly.toFixed(4)] as const]),
    ...listed('most confused', confusions.slice(0, maxShownConfusions).map(describeConfusion)),
    ['file', `${shellWord(flags.out)}, ${file.byteLength.toLocaleString('en-US')} bytes`],
    ['took', duration(took)],
    ...listed('put it live', uploadCommand(flags.out, process.env)),
  ]
  return factLines(facts)
}

function jsonReport(
  { file, result, metric, scores, calibrationError, headOnly, confusions }: NewTask,
  flags: LearnFlags,
  took: number,
): string {
  return JSON.stringify({
    file: flags.out,
    bytes: file.byteLength,
    metric,
    score: result.score,
    scores: scoresAsJson(scores),
    ...(calibrationError !== undefined && { calibration_error: calibrationError }),
    ...(headOnly !== undefined && { head_only: headOnly }),
    folds: result.folds,
    held_out: result.heldOut,
    start: result.start,
    epoch: result.bestEpoch,
    epochs: result.epochs,
    stopped: result.stopped,
    confusions,
    seconds: took / 1000,
  })
}
