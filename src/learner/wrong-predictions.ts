// The held-out examples that a trained task predicts wrongly: their labels may be wrong, or they teach the most.

import { resampled } from '../learn/intervals.js'
import type { NewTask } from '../learn/new-task.js'
import { shortened } from '../problem.js'
import { judge, type ShownLabel, WorstExamples } from '../report/judged-examples.js'
import { type LearnerMessage, reportLimits } from './messages.js'

type Wrong = Extract<LearnerMessage, { kind: 'done' }>['wrong']

/** Bound of the list in bytes: examples of token classifications have many labels. */
const maxBytes = 512 * 1024

/** Numbers are never quite right. They count as wrong if their distance is so many times the mean distance. */
const farFactor = 2

/** @param lines of the examples of the data @returns the surest first */
export function wrongPredictions({ judged }: NewTask, lines: readonly number[]): Wrong {
  const { space, evaluation, heldOut } = judged
  const worst = new WorstExamples(reportLimits.wrong)
  let distances = 0
  for (const [at, example] of heldOut.examples.entries()) {
    const found = judge(
      space,
      { place: String(lines[example] ?? 0), text: '' },
      resampled(evaluation, Int32Array.of(at)),
    )
    distances += found.score ?? 0
    worst.add(found)
  }
  const far = space.problem === 'regression' ? (farFactor * distances) / Math.max(1, heldOut.examples.length) : 0
  const wrong: Wrong = []
  let bytes = 0
  for (const { place, predicted, score = 0 } of worst.list) {
    if (score < far) continue
    const entry = { line: Number(place), predicted: withinLimits(predicted), score }
    bytes += Buffer.byteLength(JSON.stringify(entry)) + 1
    if (bytes > maxBytes) break
    wrong.push(entry)
  }
  return wrong
}

function withinLimits(label: ShownLabel): number | string | string[] {
  if (typeof label === 'number') return label
  const { labelLength } = reportLimits
  return typeof label === 'string' ? shortened(label, labelLength) : label.map((one) => shortened(one, labelLength))
}
