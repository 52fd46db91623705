// Evaluates a task on a file of labelled examples by its predictions, as a server makes them.

import { type Columns, columnsFor } from '../data/columns.js'
import { type Example, type OnReading, readExamples } from '../data/examples.js'
import { outputCount } from '../data/label-space.js'
import type { Evaluation } from '../learn/evaluated-examples.js'
import { GrowingArray } from '../learn/growing-array.js'
import { problemTraits } from '../learn/problem-traits.js'
import { noClass } from '../learn/problems/classes.js'
import { asServed, outputsOfPredictions, textsToPredict } from '../learn/served-predictions.js'
import { Problem } from '../problem.js'
import { type JudgedExample, judge } from '../report/judged-examples.js'
import type { Prediction } from '../tasks/predictions.js'
import type { OpenedTask } from './opened-task.js'
import { predictInOrder } from './ordered-predictions.js'

/**
 * @param onJudged receives each example with its prediction
 * @throws Problem
 */
export async function evaluateFile(
  task: OpenedTask,
  path: string,
  columns: Columns,
  onWarning: (what: string) => void,
  onReading: OnReading,
  onJudged: (example: JudgedExample) => Promise<void>,
): Promise<Evaluation> {
  const { space } = task
  const traits = problemTraits[space.problem]
  const width = traits.width(space)
  const outputs = new GrowingArray(new Float64Array())
  const predictions = new GrowingArray(new Float64Array())
  const actual = new GrowingArray(new Float64Array())
  const starts = new GrowingArray(Int32Array.of(0))
  const examples = readExamples(path, columnsFor(space.problem, columns), { onWarning, onReading })
  const work = {
    rawScores: true,
    textsOf: (example: Example) => textsToPredict(space, example),
    sizeOf: ({ text, textPair = '' }: Example) => text.length + textPair.length,
    resultOf: (example: Example, predictions: readonly Prediction[]) => {
      const labelled = asServed(space, example, predictions)
      return { example: labelled, outputs: Float64Array.from(outputsOfPredictions(space, labelled, predictions)) }
    },
  }
  for await (const { example, outputs: own } of predictInOrder(task, examples, work)) {
    const targets = Float64Array.from(traits.targets(space, example))
    if (own.length * width !== targets.length * outputCount(space))
      throw new Problem('server_failed', `the prediction for ${example.place} does not have the scores of all labels`)
    const predicted = traits.predictions(space, own)
    outputs.append(own)
    predictions.append(predicted)
    actual.append(targets)
    starts.append([actual.length / width])
    await onJudged(judge(space, example, { outputs: own, predictions: predicted, actual: targets }))
  }
  const missing = predictions.view().reduce((count, value) => count + (value === noClass ? 1 : 0), 0)
  if (traits.unit === 'word' && missing > 0)
    onWarning(`${path}: ${missing} words have no prediction; they count as wrong`)
  return { outputs: outputs.view(), predictions: predictions.view(), actual: actual.view(), starts: starts.view() }
}
