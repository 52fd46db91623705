// `propetl evaluate`: scores a task on labelled examples, from its file or on a server. A file runs through the same code
// as in a server, so that both give the same score.

import { type Columns, columnsFor } from '../data/columns.js'
import { type Example, type OnReading, readExamples } from '../data/examples.js'
import { checkDataFile, isDataFileName } from '../data/file-rows.js'
import { type LabelSpace, outputCount } from '../data/label-space.js'
import { UnlearnedLabels } from '../data/unlearned-labels.js'
import { confidenceInterval, type Evaluation, metricFor, scoreOf } from '../learn/evaluation.js'
import { GrowingArray } from '../learn/growing-array.js'
import { noClass, problemTraits } from '../learn/problem-traits.js'
import { Random } from '../learn/random.js'
import { outputsOfPredictions, textsToPredict } from '../learn/served-predictions.js'
import { Problem } from '../problem.js'
import type { Prediction } from '../tasks/predictions.js'
import { type OpenedTask, openTask } from './opened-task.js'
import { predictInOrder } from './ordered-predictions.js'
import { ProgressLine } from './progress-line.js'
import { columnsOf, type DataFlags, type TaskFlags } from './training-options.js'

export interface EvaluateFlags extends DataFlags, TaskFlags {
  readonly json?: boolean
}

interface EvaluatedExample extends Example {
  /** [N, C] for its N labels. */
  readonly outputs: Float32Array
}

/**
 * @param task a task file, or the URL of a task on a server: http://host:8080/tasks/reviews
 * @returns the text to print
 * @throws Problem
 */
export async function evaluate(task: string, path: string, flags: EvaluateFlags): Promise<string> {
  const line = new ProgressLine(process.stderr)
  if (isDataFileName(task))
    throw new Problem(
      'invalid_setting',
      `${task} is a data file; expected first a task file or the URL of a task, then the data file`,
    )
  await checkDataFile(path)
  const opened = await openTask(task, flags, (what) => line.print(`warning: ${what}`))
  const unlearned = new UnlearnedLabels()
  const space: LabelSpace = { ...opened.space, unlearned }
  const evaluated = { ...opened, space }
  try {
    const metric = metricFor(space, flags.metric)
    const evaluation = await predictAll(
      evaluated,
      path,
      columnsOf(flags),
      (what) => line.print(`warning: ${what}`),
      (file, rows) => line.reading(file, rows),
    )
    if (unlearned.warning) line.print(`warning: ${unlearned.warning}`)
    line.end()
    const rows = evaluation.starts.length - 1
    if (rows === 0) throw new Problem('invalid_data', `${path}: the file has no examples`)
    const score = scoreOf(metric, space, evaluation)
    const interval = confidenceInterval(metric, space, evaluation, new Random(flags.seed, 'interval'))
    if (flags.json) return JSON.stringify({ task, data: path, rows, metric, score, interval })
    const [low, high] = interval.map((value) => value.toFixed(4))
    return `${metric} ${score.toFixed(4)} on ${rows} examples; 95 % confidence interval ${low} to ${high}`
  } finally {
    await opened.close()
  }
}

async function predictAll(
  task: OpenedTask,
  path: string,
  columns: Columns,
  onWarning: (what: string) => void,
  onReading: OnReading,
): Promise<Evaluation> {
  const { space } = task
  const traits = problemTraits[space.problem]
  const width = traits.width(space)
  const predictions = new GrowingArray(new Float32Array())
  const actual = new GrowingArray(new Float32Array())
  const starts = new GrowingArray(Int32Array.of(0))
  const examples = readExamples(path, columnsFor(space.problem, columns), { onWarning, onReading })
  const work = {
    rawScores: true,
    textsOf: (example: Example) => textsToPredict(space, example),
    sizeOf: ({ text, textPair = '' }: Example) => text.length + textPair.length,
    resultOf: (example: Example, predictions: readonly Prediction[]): EvaluatedExample => ({
      ...example,
      outputs: Float32Array.from(outputsOfPredictions(space, example, predictions)),
    }),
  }
  for await (const example of predictInOrder(task, examples, work)) {
    const { outputs, place } = example
    const targets = traits.targets(space, example)
    if (outputs.length * width !== targets.length * outputCount(space))
      throw new Problem('server_failed', `the prediction for ${place} does not have the scores of all labels`)
    predictions.append(traits.predictions(space, outputs))
    actual.append(targets)
    starts.append([actual.length / width])
  }
  const missing = predictions.view().reduce((count, value) => count + (value === noClass ? 1 : 0), 0)
  if (traits.unit === 'word' && missing > 0)
    onWarning(`${path}: ${missing} words have no prediction; they count as wrong`)
  return { predictions: predictions.view(), actual: actual.view(), starts: starts.view() }
}
