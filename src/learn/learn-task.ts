// Learns a task from a data file: loads the model and the data, and trains. `propetl learn` and the learners of a server
// share it, so that the same examples give the same task.

import { readdir } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import type { Example } from '../data/examples.js'
import type { FileSurvey } from '../data/file-survey.js'
import { readFileAs } from '../formats/file.js'
import { checkTaskFits, servedModel } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import type { Pooling } from '../petl/task.js'
import { readTaskFile, type TaskFile } from '../petl/task-file.js'
import { Problem } from '../problem.js'
import { defaultPooling, defaultTextPrefix, loadModelForTraining, loadPrototypeFor, loadTaskFile } from './model.js'
import { type NewTask, type NewTaskControl, type NewTaskOptions, trainNewTask } from './new-task.js'
import { loadTrainingData, type TrainingData, type TrainingDataOptions } from './training-data.js'

export interface LearnTaskOptions
  extends Omit<NewTaskOptions, 'pooling' | 'resume'>,
    Omit<TrainingDataOptions, 'resume'> {
  /** Hugging Face directory of the backbone. */
  readonly directory: string
  /** Prototype file; absent: the task has a head alone. */
  readonly prototypeFile?: string | undefined
  /** Folder of task files whose masks training may start from. */
  readonly startMasks: string
  /** Tokens to which longer texts are cut. */
  readonly maxLength?: number | undefined
  /** By default that of the directory. */
  readonly pooling?: Pooling | undefined
  /** A task file to resume. */
  readonly resumeFile?: string | undefined
  /** When training must end, as performance.now() counts. */
  readonly deadline?: number
}

/** How the caller follows and stops the learning of a task. */
export interface LearnTaskControl extends NewTaskControl {
  /** Receives what looks wrong in the data but does not prevent training. */
  readonly onWarning: (warning: string) => void
  /** Receives the number of rows of a file that have been read. */
  readonly onReading: (path: string, rows: number) => void
  /** Receives what is in the data file. */
  readonly onSurvey?: (survey: FileSurvey) => void
  /** Receives the examples of the data file, in the order of its set. */
  readonly onExample?: (example: Example) => void
  readonly onData?: (data: TrainingData) => void
}

/**
 * @returns the task, and what it was trained on
 * @throws Problem; the reason of the signal, if it was aborted before there was a task
 */
export async function learnTask(
  options: LearnTaskOptions,
  control: LearnTaskControl,
): Promise<{ readonly task: NewTask; readonly data: TrainingData }> {
  const { directory, prototypeFile, resumeFile, startMasks, maxLength, deadline, ...rest } = options
  const { signal, onWarning, onReading, onSurvey, onExample, onData } = control
  const model = await loadModelForTraining(directory, maxLength)
  const prototype = prototypeFile === undefined ? undefined : await loadPrototypeFor(model.backbone, prototypeFile)
  const served = servedModel(model.backbone, prototype)
  const resume = resumeFile === undefined ? undefined : await loadTaskFile(resumeFile, served)
  const known = prototype && (await knownTasks(startMasks, prototype))
  const textPrefix = options.textPrefix ?? defaultTextPrefix(model.backbone)
  const all = {
    ...rest,
    pooling: options.pooling ?? defaultPooling(model.backbone),
    ...(textPrefix !== undefined && { textPrefix }),
    ...(resume && { resume }),
  }
  const data = await loadTrainingData(
    model,
    all,
    onWarning,
    (file, rows) => {
      signal.throwIfAborted()
      onReading(file, rows)
    },
    onSurvey,
    onExample,
  )
  signal.throwIfAborted()
  onData?.(data)
  const budget = deadline === undefined ? {} : { timeBudget: Math.max(0, deadline - performance.now()) }
  const task = await trainNewTask(model, prototype, data, { ...all, ...budget }, control, known)
  checkTaskFits(readTaskFile(task.file), served)
  return { task, data }
}

/**
 * The tasks of a folder that belong to a prototype, by id.
 * @throws Problem `invalid_setting`, `unreadable_file`, `invalid_task_file`
 */
export async function knownTasks(folder: string, prototype: Prototype): Promise<Map<string, TaskFile>> {
  const names = await readdir(folder).catch((error: Error) => {
    throw new Problem(
      'invalid_setting',
      `--start-masks ${folder} cannot be read: ${error.message}; name a folder of task files`,
    )
  })
  const known = new Map<string, TaskFile>()
  for (const name of names.filter((name) => extname(name) === '.safetensors').sort()) {
    const task = await readFileAs(join(folder, name), 'unreadable_file', (bytes) => readTaskFile(bytes))
    if (task.prototype === prototype.digest) known.set(basename(name, '.safetensors'), task)
  }
  return known
}
