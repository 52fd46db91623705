// `propetl evaluate`: scores a task on labelled examples, from its file or on a server. A file runs through the same code
// as in a server, so that both give the same score.

import type { Text } from '../backbones/tokenizer.js'
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
import type { Numerics } from '../runtime/execution-providers.js'
import { type OpenedTask, openTask } from './opened-task.js'
import { ProgressLine } from './progress-line.js'
import { columnsOf, type DataFlags } from './training-options.js'

export interface EvaluateFlags extends DataFlags {
  readonly numerics: Numerics
  readonly json?: boolean
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
  const opened = await openTask(task, flags)
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
  { space, maxTexts, predict }: OpenedTask,
  path: string,
  columns: Columns,
  onWarning: (what: string) => void,
  onReading: OnReading,
): Promise<Evaluation> {
  const traits = problemTraits[space.problem]
  const outputs = new GrowingArray(new Float32Array())
  const actual = new GrowingArray(new Float32Array())
  const starts = new GrowingArray(Int32Array.of(0))
  const width = traits.width(space)
  let pending: { readonly example: Example; readonly texts: readonly Text[] }[] = []
  const flush = async () => {
    const predicted = await predict(pending.flatMap(({ texts }) => texts))
    let first = 0
    for (const { example, texts } of pending) {
      outputs.append(outputsOfPredictions(space, example, predicted.slice(first, first + texts.length)))
      actual.append(traits.targets(space, example))
      const labels = actual.length / width
      if (outputs.length !== labels * outputCount(space))
        throw new Problem('server_failed', `the prediction for ${example.place} does not have the scores of all labels`)
      starts.append([labels])
      first += texts.length
    }
    pending = []
  }
  for await (const example of readExamples(path, columnsFor(space.problem, columns), { onWarning, onReading })) {
    const texts = textsToPredict(space, example)
    if ((pending.length + 1) * texts.length > maxTexts) await flush()
    pending.push({ example, texts })
  }
  if (pending.length > 0) await flush()
  const predictions = traits.predictions(space, outputs.view())
  const missing = predictions.reduce((count, value) => count + (value === noClass ? 1 : 0), 0)
  if (traits.unit === 'word' && missing > 0)
    onWarning(`${path}: ${missing} words have no prediction; they count as wrong`)
  return { predictions, actual: actual.view(), starts: starts.view() }
}
