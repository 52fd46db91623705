// The options that learn, train and evaluate share: their groups in the help, defaults, and checks of their values.

import { type Command, InvalidArgumentError, Option } from 'commander'
import { type Columns, defaultColumns } from '../data/columns.js'
import { type Metric, metricNames } from '../learn/metrics.js'
import { type HeadKind, headKinds } from '../learn/plan.js'
import { type Pooling, type ProblemType, poolings, problemTypes } from '../petl/task.js'
import type { Numerics } from '../runtime/numerics.js'
import { hostProvider, type LearningProvider, learningProviders } from '../runtime/providers.js'
import { settings } from '../settings.js'
import type { ModelFlags } from './model-directory.js'

const number = (what: string, isValid: (value: number) => boolean) => (given: string) => {
  const value = given.trim() === '' ? Number.NaN : Number(given)
  if (!isValid(value)) throw new InvalidArgumentError(`Expected ${what}.`)
  return value
}
export const whole = (min: number, max: number) =>
  number(`a whole number from ${min} to ${max}`, (value) => Number.isInteger(value) && value >= min && value <= max)
export const positive = number('a number above 0', (value) => value > 0 && Number.isFinite(value))
export const probability = number('a number above 0 and below 1', (value) => value > 0 && value < 1)
export const share = number('a number above 0, at most 1', (value) => value > 0 && value <= 1)
const decay = number('a number that is not negative', (value) => value >= 0 && Number.isFinite(value))

/** Names separated by commas, or a JSON array if names contain commas. */
function nameList(given: string): readonly string[] {
  const names = given.trim().startsWith('[') ? jsonNames(given) : given.split(',').map((name) => name.trim())
  if (
    names === undefined ||
    names.length < 2 ||
    names.some((name) => name === '') ||
    new Set(names).size < names.length
  )
    throw new InvalidArgumentError('Expected at least two different names, as in: price,service,food')
  return names
}

function jsonNames(given: string): readonly string[] | undefined {
  try {
    const names: unknown = JSON.parse(given)
    return Array.isArray(names) && names.every((name) => typeof name === 'string') ? names : undefined
  } catch {
    return undefined
  }
}

/** The headings of options in the help. */
export const optionGroups = {
  output: 'Output:',
  data: 'Data:',
  model: 'Model:',
  module: 'Module:',
  masks: 'Masks:',
  training: 'Training:',
  evaluation: 'Evaluation:',
  machine: 'Machine:',
} as const

/** The values of the options that {@link addTextOptions} adds. */
export interface TextFlags {
  readonly textColumn: string
  readonly textPairColumn?: string
}

/** The values of the options about columns. */
export interface ColumnFlags extends TextFlags {
  readonly labelColumn: string
  readonly labelColumns?: readonly string[]
  readonly labelNames?: readonly string[]
  readonly labelSeparator?: string
}

/** The values of the options that {@link addTaskOptions} adds. */
export interface TaskFlags extends ModelFlags {
  readonly threads: number
  readonly maxLength?: number
  readonly numerics: Numerics
}

/** The values of the options that learn, train and evaluate share. */
export interface DataFlags extends ColumnFlags, Omit<TaskFlags, 'numerics'> {
  readonly seed: number
  readonly metric?: Metric
}

/** The values of the options that learn and train share, and of {@link addSingleTaskOptions}. */
export interface CommonTrainingFlags extends DataFlags {
  readonly dev?: string
  readonly devShare: number
  readonly problemType?: ProblemType
  readonly maxRows?: number
  readonly epochs?: number
  readonly batchRows: number
  readonly headRate?: number
  readonly weightDecay: number
  readonly pooling?: Pooling
  readonly textPrefix?: string
  readonly head: HeadKind
  readonly provider: LearningProvider
}

/** Options about the texts of a data file. */
export const addTextOptions = (command: Command): Command =>
  command
    .optionsGroup(optionGroups.data)
    .option('--text-column <name>', 'column of the text', defaultColumns.text)
    .option(
      '--text-pair-column <name>',
      `column of the second text (default: "${defaultColumns.textPair}" if the file has it)`,
    )

export const addColumnOptions = (command: Command): Command =>
  addTextOptions(command)
    .option('--label-column <name>', 'column of the label', defaultColumns.label)
    .option('--label-columns <names>', 'columns with 0 or 1 for each label, separated by commas', nameList)
    .option(
      '--label-names <names>',
      'names of labels that are stored as numbers from 0, or as arrays of 0 and 1, separated by commas',
      nameList,
    )
    .option('--label-separator <text>', 'what separates the labels of a list (default: found in the file)')

export const modelDirOption = (description: string): Option =>
  new Option('--model, --model-dir <dir>', description).default(settings.modelDir.value, 'the bundled all-MiniLM-L6-v2')

/** @param condition when the option applies */
export const prototypeOption = (condition = ''): Option =>
  new Option('--prototype <file>', `${condition}prototype file (default: prototype.safetensors in the directory)`)

export const poolingOption = (): Option =>
  new Option(
    '--pooling <kind>',
    'how token vectors become one vector (default: that of a sentence-transformers directory; otherwise mean)',
  ).choices(poolings)

const metricOption = () =>
  new Option('--metric <name>', 'metric (default: depends on the problem type)').choices(metricNames)

const threadsOption = () =>
  new Option('--threads <number>', 'CPU threads; 0 means one per core').argParser(whole(0, 1024)).default(0)

/** Options about how a task file runs. */
export const addTaskOptions = (command: Command): Command =>
  command
    .optionsGroup(optionGroups.model)
    .addOption(modelDirOption('for a task file: directory or Hub name of the backbone'))
    .addOption(prototypeOption('for a task file: '))
    .option(
      '--max-length <tokens>',
      'for a task file: truncate longer texts (default: as the task file says)',
      whole(8, 100_000),
    )
    .optionsGroup(optionGroups.machine)
    .addOption(threadsOption())
    .addOption(
      new Option('--numerics <kind>', 'numerics that a task file is run with, as for serve')
        .choices(settings.numerics.kind.choices)
        .default(settings.numerics.value),
    )

/** Options of evaluate about its data and its score. */
export const addEvaluationOptions = (command: Command): Command =>
  addColumnOptions(command)
    .optionsGroup(optionGroups.evaluation)
    .addOption(metricOption())
    .option('--seed <number>', 'seed of the confidence interval', whole(0, 2 ** 31 - 1), 1)

/** Options of learn and train about their data. */
export const addDataOptions = (command: Command): Command =>
  addColumnOptions(command)
    .option('--dev-share <share>', 'share of the data to use as dev examples', share, 0.1)
    .option('--max-rows <number>', 'use at most this many training examples, drawn at random', whole(2, 1e9))

/** Options of learn and train about the backbone and the head. */
export const addModelOptions = (command: Command, modelDir: string): Command =>
  command
    .optionsGroup(optionGroups.model)
    .addOption(modelDirOption(modelDir))
    .option(
      '--max-length <tokens>',
      'truncate longer texts, in training and in serving; the task file holds it ' +
        '(default: that of a sentence-transformers directory, at most 512; otherwise 128)',
      whole(8, 100_000),
    )
    .addOption(poolingOption())
    .option(
      '--text-prefix <text>',
      'text to put before every text, such as "query: ", in training and in serving; the task file holds it ' +
        '(default: the default prompt of a sentence-transformers directory)',
    )
    .addOption(
      new Option('--head <kind>', 'linear, or dense: with a dense layer and tanh before it')
        .choices(headKinds)
        .default('linear'),
    )

/** Options of learn and train about training, and about the machine that it runs on. */
export const addTrainingOptions = (command: Command): Command =>
  command
    .optionsGroup(optionGroups.training)
    .option('--epochs <number>', 'passes over the data (default: by the number of examples)', whole(1, 10_000))
    .option('--batch-rows <number>', 'examples of a batch', whole(1, 100_000), 32)
    .option(
      '--head-rate <rate>',
      'learning rate of heads (default: 0.005; 0.001 for learn with a linear head or --resume)',
      positive,
    )
    .option('--weight-decay <number>', 'weight decay of AdamW', decay, 0.1)
    .option('--seed <number>', 'the same seed gives the same result on the same machine', whole(0, 2 ** 31 - 1), 1)
    .optionsGroup(optionGroups.machine)
    .addOption(
      new Option('--provider <name>', 'execution provider; cuda needs an NVIDIA GPU')
        .choices(learningProviders)
        .default(hostProvider),
    )
    .addOption(threadsOption())
    .optionsGroup(optionGroups.training)

/** Options about the one task of learn. */
export const addSingleTaskOptions = (command: Command): Command =>
  command
    .optionsGroup(optionGroups.data)
    .option('--dev <file>', 'file of dev examples, which choose the best epoch (default: a share of the data)')
    .addOption(
      new Option('--problem-type <type>', 'problem type (default: found from the labels)').choices(problemTypes),
    )
    .addOption(metricOption())

/** The columns that the options name. */
export const columnsOf = (flags: ColumnFlags): Columns => ({
  ...defaultColumns,
  text: flags.textColumn,
  textPair: flags.textPairColumn ?? defaultColumns.textPair,
  pairs: flags.textPairColumn !== undefined,
  label: flags.labelColumn,
  ...(flags.labelColumns && { labelColumns: flags.labelColumns }),
  ...(flags.labelNames && { labelNames: flags.labelNames }),
  ...(flags.labelSeparator && { labelSeparator: flags.labelSeparator }),
})
