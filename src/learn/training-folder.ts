// Loads the training data of a task from one file, or from a folder with train.jsonl and, optionally, dev.jsonl and
// task.json.

import { readFile, stat } from 'node:fs/promises'
import { basename, extname, join, resolve } from 'node:path'
import type { OnReading } from '../data/examples.js'
import { throwUnreadable } from '../data/invalid-data.js'
import { type ProblemType, problemTypes } from '../petl/task.js'
import { Problem } from '../problem.js'
import { type Metric, metricNames } from './metrics.js'
import type { Model } from './model.js'
import type { NamedTrainingData } from './prototype-training.js'
import { loadTrainingData, type TrainingDataOptions } from './training-data.js'

/**
 * Loads a task; its id is the name of its file or folder.
 * @param onWarning receives what looks wrong in the data but does not prevent training
 * @throws Problem `invalid_data`, `unreadable_file`
 */
export async function loadNamedTrainingData(
  model: Model,
  path: string,
  options: Pick<TrainingDataOptions, 'devShare' | 'seed' | 'columns' | 'maxRows' | 'textPrefix'>,
  onWarning: (warning: string) => void,
  onReading?: OnReading,
): Promise<NamedTrainingData> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => throwUnreadable(path, error))
  if (!found.isDirectory())
    return {
      id: basename(path, extname(path)),
      ...(await loadTrainingData(model, { ...options, data: path }, onWarning, onReading)),
    }
  const dev = join(path, 'dev.jsonl')
  const hasDev = await stat(dev).then(
    () => true,
    () => false,
  )
  const data = await loadTrainingData(
    model,
    {
      ...options,
      data: join(path, 'train.jsonl'),
      ...(hasDev && { dev }),
      ...(await readTaskDescription(join(path, 'task.json'))),
    },
    onWarning,
    onReading,
  )
  return { id: basename(resolve(path)), ...data }
}

/** `problem_type` and `metric` of a task.json. Both are optional, and so is the file. */
export async function readTaskDescription(path: string): Promise<{ problem?: ProblemType; metric?: Metric }> {
  const text = await readFile(path, 'utf8').catch(() => '{}')
  let given: { problem_type?: unknown; metric?: unknown } | null
  try {
    given = JSON.parse(text)
  } catch (error) {
    throw new Problem('invalid_data', `${path}: not JSON: ${(error as Error).message}`)
  }
  const problem = choice(path, 'problem_type', given?.problem_type, problemTypes)
  const metric = choice(path, 'metric', given?.metric, metricNames)
  return { ...(problem && { problem }), ...(metric && { metric }) }
}

function choice<T extends string>(path: string, field: string, value: unknown, choices: readonly T[]): T | undefined {
  if (value === undefined) return undefined
  const found = choices.find((choice) => choice === value)
  if (found === undefined)
    throw new Problem('invalid_data', `${path}: ${field} is ${JSON.stringify(value)}; expected ${choices.join(' | ')}`)
  return found
}
