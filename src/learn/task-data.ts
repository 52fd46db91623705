// A task's files as what a run learns from: labels surveyed, texts tokenised, a dev part split off if none is given.

import type { ProblemType } from '../petl/task.js'
import { Problem } from '../problem.js'
import { loadDataSet } from './data-file.js'
import { countDuplicates, type DataSet, type Part, sample, split, wholeOf } from './data-set.js'
import { metricFor } from './evaluation.js'
import { type Columns, type OnReading, readExamples } from './examples.js'
import { columnsFor } from './kinds.js'
import type { LabelSpace } from './label-space.js'
import { surveyLabels } from './labels.js'
import type { Metric } from './metrics.js'
import type { Model } from './model.js'
import { Random } from './random.js'

export interface TaskDataOptions {
  readonly data: string
  /** Without it `devShare` of the data is split off. */
  readonly dev?: string
  readonly devShare: number
  readonly columns: Columns
  /** Without it the labels tell. */
  readonly problem?: ProblemType
  readonly metric?: Metric
  /** Probability from which on a label of a multi-label classification applies. */
  readonly threshold?: number
  /** Rows to learn from at most, drawn at random. */
  readonly maxRows?: number
  readonly seed: number
}

export interface TaskData {
  readonly space: LabelSpace
  readonly metric: Metric
  readonly train: Part
  readonly dev: Part
}

/**
 * @param onWarning told what is odd about the data, but no reason to stop
 * @param onReading told how far the reading is; each file is read twice, for its labels and for its texts
 * @throws Problem `invalid_data`, `unreadable_file`
 */
export async function loadTaskData(
  { backbone, tokenizer }: Model,
  options: TaskDataOptions,
  onWarning: (warning: string) => void,
  onReading?: OnReading,
): Promise<TaskData> {
  const { data, columns, problem, threshold, seed } = options
  const examples = readExamples(data, columnsFor(problem, columns), undefined, onReading)
  const surveyed = await surveyLabels(examples, data, problem)
  if (threshold !== undefined && surveyed.problem !== 'multi_label_classification')
    throw new Problem(
      'invalid_setting',
      `a ${surveyed.problem} has no threshold; only a multi_label_classification has`,
    )
  const space = { ...surveyed, ...(threshold !== undefined && { threshold }) }
  const metric = metricFor(space, options.metric)
  const load = (path: string): Promise<DataSet> =>
    loadDataSet(path, columns, space, tokenizer, backbone.config.vocab_size, onWarning, onReading)
  const whole = await load(data)
  const parts =
    options.dev === undefined
      ? split(whole, space, options.devShare, new Random(seed, 'split'))
      : { train: wholeOf(whole), dev: wholeOf(await load(options.dev)) }
  for (const [part, path] of [[parts.train, data] as const, [parts.dev, options.dev ?? data] as const])
    if (part.rows.length === 0)
      throw new Problem('invalid_data', `${path}: too few rows for a part to learn from and a dev part`)
  const duplicates = countDuplicates(parts.train, parts.dev)
  if (duplicates > 0)
    onWarning(`${duplicates} rows to learn from are in the dev part too; the dev score is better than it should be`)
  const { maxRows = Number.POSITIVE_INFINITY } = options
  return { space, metric, train: sample(parts.train, maxRows, new Random(seed, 'cap')), dev: parts.dev }
}
