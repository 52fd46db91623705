// Flags that the learning commands have in common: what each means, its default, and how its value is checked.

import { type Command, InvalidArgumentError, Option } from 'commander'
import { settings } from '../config.js'
import { type Columns, defaultColumns } from '../learn/examples.js'
import { type Metric, metricNames } from '../learn/metrics.js'
import { type HeadKind, headKinds } from '../learn/plan.js'
import { combinings, type ProblemType, poolings, problemTypes } from '../petl/task.js'
import { type LearningProvider, learningProviders } from '../runtime/execution-providers.js'

const number = (what: string, fits: (value: number) => boolean) => (given: string) => {
  const value = given.trim() === '' ? Number.NaN : Number(given)
  if (!fits(value)) throw new InvalidArgumentError(`Expected ${what}.`)
  return value
}
export const whole = (min: number, max: number) =>
  number(`a whole number from ${min} to ${max}`, (value) => Number.isInteger(value) && value >= min && value <= max)
export const positive = number('a number above 0', (value) => value > 0 && Number.isFinite(value))
export const probability = number('a number above 0 and below 1', (value) => value > 0 && value < 1)
export const share = number('a number above 0, at most 1', (value) => value > 0 && value <= 1)
const decay = number('a number from 0', (value) => value >= 0 && Number.isFinite(value))

/** What the flags of {@link addEvaluationOptions} give. */
export interface DataFlags {
  readonly modelDir: string
  readonly threads: number
  readonly maxLength?: number
  readonly seed: number
  readonly textColumn: string
  readonly textPairColumn?: string
  readonly labelColumn: string
  readonly metric?: Metric
}

/** What {@link addTrainingOptions} and {@link addSingleTaskOptions} give. */
export interface CommonTrainingFlags extends DataFlags {
  readonly dev?: string
  readonly devShare: number
  readonly problemType?: ProblemType
  readonly maxRows?: number
  readonly epochs?: number
  readonly batchRows: number
  readonly headRate: number
  readonly weightDecay: number
  readonly pooling: (typeof poolings)[number]
  readonly head: HeadKind
  readonly provider: LearningProvider
}

/** The model, and how rows are read. */
export const addEvaluationOptions = (command: Command): Command =>
  addModelAndColumnOptions(command)
    .option('--max-length <tokens>', 'longer texts are cut (default: what the model takes)', whole(8, 100_000))
    .addOption(new Option('--metric <name>', 'metric to score by (default: by problem type)').choices(metricNames))

const addModelAndColumnOptions = (command: Command): Command =>
  command
    .addOption(
      new Option('--model-dir <dir>', 'Hugging Face directory with prototype.safetensors in it').default(
        settings.modelDir.value,
        'the bundled all-MiniLM-L6-v2',
      ),
    )
    .option('--text-column <name>', 'column of the text', defaultColumns.text)
    .option('--text-pair-column <name>', `column of the second text (default: "${defaultColumns.textPair}" if present)`)
    .option('--label-column <name>', 'column of the label', defaultColumns.label)
    .option('--seed <number>', 'the same seed gives the same result on the same machine', whole(0, 2 ** 31 - 1), 1)
    .option('--threads <number>', 'threads that compute; 0 is one for each core', whole(0, 1024), 0)

/** What every learning run has. */
export const addTrainingOptions = (command: Command): Command =>
  addModelAndColumnOptions(command)
    .option('--max-length <tokens>', 'longer texts are cut', whole(8, 100_000), 128)
    .option('--dev-share <share>', 'share of the data to split off for dev', share, 0.1)
    .option('--max-rows <number>', 'learn from at most so many rows, drawn at random', whole(2, 1e9))
    .option('--epochs <number>', 'times that every row is seen (default: 3 to 50, for 400 steps)', whole(1, 10_000))
    .option('--batch-rows <number>', 'rows of a step', whole(1, 100_000), 32)
    .option('--head-rate <rate>', 'learning rate of heads', positive, 0.005)
    .option('--weight-decay <number>', 'weight decay of AdamW', decay, 0.1)
    .addOption(
      new Option('--provider <name>', 'where it learns; cuda is for NVIDIA GPUs, as in serving')
        .choices(learningProviders)
        .default('cpu'),
    )
    .addOption(new Option('--pooling <kind>', 'how a row becomes a vector').choices(poolings).default('mean'))
    .addOption(
      new Option('--head <kind>', 'a linear map, or a dense layer with tanh before it')
        .choices(headKinds)
        .default('linear'),
    )

/** What is known of the one task of a run. */
export const addSingleTaskOptions = (command: Command): Command =>
  command
    .option('--dev <file>', 'rows to choose the best epoch by (default: a share of the data)')
    .addOption(new Option('--problem-type <type>', 'problem type (default: told by the labels)').choices(problemTypes))
    .addOption(new Option('--metric <name>', 'metric to score by (default: by problem type)').choices(metricNames))

export const combineOption = new Option('--combine <kind>', "combine the mask with the prototype's layer masks")
  .choices(combinings)
  .default('none')

/** The columns that flags name. */
export const columnsOf = (flags: Pick<DataFlags, 'textColumn' | 'textPairColumn' | 'labelColumn'>): Columns => ({
  ...defaultColumns,
  text: flags.textColumn,
  textPair: flags.textPairColumn ?? defaultColumns.textPair,
  pairs: flags.textPairColumn !== undefined,
  label: flags.labelColumn,
})
