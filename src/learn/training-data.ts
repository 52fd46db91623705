// A task's files as what a run learns from: labels surveyed, texts tokenised, a dev part split off if none is given.

import type { ProblemType } from '../petl/task.js'
import { Problem } from '../problem.js'
import { metricFor } from './evaluation.js'
import { countDuplicates, type ExampleSet, type Subset, sample, split, wholeSet } from './example-set.js'
import { type Columns, type OnReading, readExamples } from './examples.js'
import type { LabelSpace } from './label-space.js'
import { surveyLabels } from './label-survey.js'
import { loadExampleSet } from './load-example-set.js'
import type { Metric } from './metrics.js'
import type { Model } from './model.js'
import { columnsFor } from './problem-traits.js'
import { Random } from './random.js'

export interface TrainingDataOptions {
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

export interface TrainingData {
  readonly space: LabelSpace
  readonly metric: Metric
  readonly train: Subset
  readonly dev: Subset
}

/**
 * @param onWarning told what is odd about the data, but no reason to stop
 * @param onReading told how far the reading is; each file is read twice, for its labels and for its texts
 * @throws Problem `invalid_data`, `unreadable_file`
 */
export async function loadTrainingData(
  { backbone, tokenizer }: Model,
  options: TrainingDataOptions,
  onWarning: (warning: string) => void,
  onReading?: OnReading,
): Promise<TrainingData> {
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
  const load = (path: string): Promise<ExampleSet> =>
    loadExampleSet(path, columns, space, tokenizer, backbone.dims.vocabulary, onWarning, onReading)
  const whole = await load(data)
  const parts =
    options.dev === undefined
      ? split(whole, space, options.devShare, new Random(seed, 'split'))
      : { train: wholeSet(whole), dev: wholeSet(await load(options.dev)) }
  for (const [part, path] of [[parts.train, data] as const, [parts.dev, options.dev ?? data] as const])
    if (part.examples.length === 0)
      throw new Problem('invalid_data', `${path}: too few rows for a part to learn from and a dev part`)
  const duplicates = countDuplicates(parts.train, parts.dev)
  if (duplicates > 0)
    onWarning(`${duplicates} rows to learn from are in the dev part too; the dev score is better than it should be`)
  const { maxRows = Number.POSITIVE_INFINITY } = options
  return { space, metric, train: sample(parts.train, maxRows, new Random(seed, 'cap')), dev: parts.dev }
}
