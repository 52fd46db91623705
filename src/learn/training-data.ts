// Loads the training data of a task: finds its labels, tokenises its texts, and splits off a dev part if none is given.

import type { TextForm, TextTokenizer } from '../backbones/tokenizer.js'
import type { Columns } from '../data/columns.js'
import type { Example, OnReading } from '../data/examples.js'
import { type FileSurvey, surveyFile } from '../data/file-survey.js'
import { throwInvalidData } from '../data/invalid-data.js'
import type { LabelSpace } from '../data/label-space.js'
import { surveyWarnings } from '../data/survey-report.js'
import { UnlearnedLabels } from '../data/unlearned-labels.js'
import type { ProblemType, TextFields } from '../petl/task.js'
import { type TaskFile, taskFileLimits } from '../petl/task-file.js'
import { Problem } from '../problem.js'
import { flagOf } from '../settings.js'
import { metricFor } from './evaluation.js'
import { countDuplicates, type ExampleSet, exampleCount, type Subset, sample, split, wholeSet } from './example-set.js'
import { hasRecorded, recordHeldOut, splitByRecord } from './held-out.js'
import { labelNameExamples } from './label-names.js'
import { labelWarnings } from './label-warnings.js'
import { type LoadWatch, loadExampleSet } from './load-example-set.js'
import type { Metric } from './metrics.js'
import type { Model } from './model.js'
import { Random } from './random.js'
import { checkSameForm } from './resume.js'

/** Most labels of a task. Fitting a head takes memory for each: 60 KB with a hidden size of 384. */
const mostLabels = 10_000

export interface TrainingDataOptions {
  readonly data: string
  /** Dev examples; without this file, a share `devShare` of the data is split off. */
  readonly dev?: string
  readonly devShare: number
  readonly columns: Columns
  /** By default the labels decide. */
  readonly problem?: ProblemType
  readonly metric?: Metric
  /** Least probability at which a label of a multi-label classification applies. */
  readonly threshold?: number
  /** Put before every text. */
  readonly textPrefix?: string
  /** The task to resume: examples that it was trained on are not used as dev examples. */
  readonly resume?: TaskFile
  /** Most training examples; they are drawn at random. */
  readonly maxRows?: number
  readonly seed: number
}

export interface TrainingData {
  readonly space: LabelSpace
  readonly metric: Metric
  readonly train: Subset
  readonly dev: Subset
  /** The names of labels as examples, if a head may be fitted to them too. */
  readonly names?: Subset
  /** How the texts were encoded, for the task file. */
  readonly texts: TextFields
  /** Digests of examples of the dev part that are not in the training part, for the task file. */
  readonly heldOut: Uint8Array
}

/**
 * @param onWarning receives what looks wrong in the data but does not prevent training
 * @param onReading receives the number of rows read so far; the data file is read twice, for its labels and its texts
 * @param onSurvey receives what is in the data file, before warnings about it
 * @param onExample receives the examples of the data file, in the order of the set
 * @throws Problem `invalid_data`, `unreadable_file`
 */
export async function loadTrainingData(
  { backbone, tokenizer }: Model,
  options: TrainingDataOptions,
  onWarning: (warning: string) => void,
  onReading?: OnReading,
  onSurvey: (survey: FileSurvey) => void = () => {},
  onExample: (example: Example) => void = () => {},
): Promise<TrainingData> {
  const { data, columns, problem, threshold, seed, resume } = options
  const survey = await surveyFile(data, { columns, ...(problem && { problem }), ...(onReading && { onReading }) })
  onSurvey(survey)
  const surveyed = survey.labels.space
  for (const warning of surveyWarnings(survey)) onWarning(warning)
  if (surveyed.labels.length > mostLabels)
    throwInvalidData(
      data,
      `column "${columns.label}" has ${surveyed.labels.length} labels; training supports at most ${mostLabels}. ` +
        `Name the column of the labels with ${flagOf('labelColumn')}, or train on numbers with --problem-type regression`,
    )
  if (threshold !== undefined && surveyed.problem !== 'multi_label_classification')
    throw new Problem(
      'invalid_setting',
      `a ${surveyed.problem} has no threshold; only a multi_label_classification has one`,
    )
  const unlearned = options.dev === undefined ? undefined : new UnlearnedLabels()
  const space = {
    ...surveyed,
    ...(threshold !== undefined && { thresholds: threshold }),
    ...(unlearned && { unlearned }),
  }
  const metric = metricFor(space, options.metric)
  const form = {
    maxLength: tokenizer.maxTokens,
    ...(options.textPrefix !== undefined && { textPrefix: options.textPrefix }),
  }
  await checkTextPrefix(tokenizer, form)
  if (resume) checkSameForm(resume, form)
  const load = (path: string, watch: LoadWatch): Promise<ExampleSet> =>
    loadExampleSet(path, columns, space, tokenizer, form, backbone.dims.vocabulary, {
      onWarning,
      ...(onReading && { onReading }),
      ...watch,
    })
  // The survey has reported the rows that are skipped.
  const whole = await load(data, { onSkip: () => {}, onExample })
  const parts =
    options.dev === undefined
      ? splitWhole(whole, space, options, onWarning)
      : { train: wholeSet(whole), dev: wholeSet(await load(options.dev, {})) }
  if (resume?.heldOut && options.dev !== undefined && !hasRecorded(parts.dev.set, resume.heldOut))
    onWarning(
      `${options.dev}: no example was held out when the task to resume was trained; if it was trained on these examples, ` +
        'the dev score is too high',
    )
  for (const [subset, path] of [[parts.train, data] as const, [parts.dev, options.dev ?? data] as const])
    if (subset.examples.length === 0)
      throwInvalidData(
        path,
        `there are too few examples (${exampleCount(subset.set)}) for a training part and a dev part; ` +
          'add examples, raise --dev-share, or give a dev file',
      )
  if (unlearned?.warning) onWarning(unlearned.warning)
  for (const warning of labelWarnings(space, whole, metric)) onWarning(warning)
  const duplicates = countDuplicates(parts.train, parts.dev)
  if (duplicates > 0)
    onWarning(`${duplicates} training examples are also in the dev part; the dev score is too high because of them`)
  const { maxRows = Number.POSITIVE_INFINITY } = options
  const train = sample(parts.train, maxRows, new Random(seed, 'cap'))
  const { inputs } = whole
  const texts = { ...form, ...(inputs !== undefined && inputs === parts.dev.set.inputs && { inputs }) }
  const heldOut = recordHeldOut(train, parts.dev, new Random(seed, 'held out'))
  const names = await labelNameExamples(space, tokenizer, form, backbone.dims.vocabulary, train.examples.length)
  return { space, metric, train, dev: parts.dev, ...(names && { names }), texts, heldOut }
}

/** @throws Problem `invalid_setting` if the prefix leaves less than half of the length to the text */
async function checkTextPrefix(tokenizer: TextTokenizer, { maxLength, textPrefix }: TextForm): Promise<void> {
  if (textPrefix === undefined) return
  const { fullLength } = await tokenizer.encode({ text: '' }, { textPrefix })
  if (textPrefix.length > taskFileLimits.textPrefixLength || fullLength > (maxLength ?? fullLength) / 2)
    throw new Problem(
      'invalid_setting',
      `--text-prefix has ${textPrefix.length} characters and ${fullLength} tokens; expected at most ` +
        `${taskFileLimits.textPrefixLength} characters and half of --max-length`,
    )
}

/**
 * A dev part of the data. For a resumed task it has only examples that the task was not trained on.
 * @throws Problem `invalid_setting` if there are none
 */
function splitWhole(
  whole: ExampleSet,
  space: LabelSpace,
  { data, devShare, seed, resume }: TrainingDataOptions,
  onWarning: (warning: string) => void,
): { readonly train: Subset; readonly dev: Subset } {
  if (resume?.heldOut === undefined) {
    if (resume)
      onWarning(
        'the task to resume does not record which examples it was trained on; if they are in the dev part, the dev score ' +
          'is too high',
      )
    return split(whole, space, devShare, new Random(seed, 'split'))
  }
  const parts = splitByRecord(whole, resume.heldOut)
  if (parts.dev.examples.length > 0) return parts
  throw new Problem(
    'invalid_setting',
    `${data} has no example that the task to resume has recorded as held out, so it may have been trained on all of them; ` +
      'give examples that it has not seen with --dev',
  )
}
