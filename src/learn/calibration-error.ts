// The expected calibration error of an evaluation, also for examples that the calibration was not fitted to.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import { calibrate, calibratedOutputs } from './calibration.js'
import type { Evaluation, Values } from './evaluated-examples.js'
import { problemTraits } from './problem-traits.js'
import type { Random } from './random.js'
import { reliabilityOf } from './reliability.js'

/**
 * The calibration error of an evaluation; undefined if the problem type has no probabilities. A single-label or token
 * classification is judged by the probabilities of its predictions, a multi-label classification by those of all labels.
 */
export const calibrationError = (space: LabelSpace, evaluation: Evaluation): number | undefined =>
  reliabilityOf(space, evaluation)?.error

/**
 * The calibration error for examples that the calibration was not fitted to: each half of the examples is calibrated by the
 * other half. Without this, the error would be too small.
 * @param outputs not calibrated, [N, C]
 * @param evaluation of the same examples
 */
export function crossFittedCalibrationError(
  space: LabelSpace,
  outputs: Values,
  evaluation: Evaluation,
  random: Random,
): number | undefined {
  if (space.labels.length === 0) return undefined
  const { lossTargets, predictions } = problemTraits[space.problem]
  const { starts } = evaluation
  const C = outputCount(space)
  const width = evaluation.actual.length / (starts[starts.length - 1] ?? 1)
  const targets = Float32Array.from(evaluation.actual)
  const calibrated = new Float32Array(outputs.length)
  const order = random.order(starts.length - 1)
  const halves = [order.subarray(0, order.length >> 1), order.subarray(order.length >> 1)]
  if (halves.some(({ length }) => length === 0)) return undefined
  const rowsOf = (examples: Int32Array) =>
    Array.from(examples).flatMap((example) => {
      const [start = 0, end = 0] = starts.subarray(example, example + 2)
      return Array.from({ length: end - start }, (_, i) => start + i)
    })
  const pick = (rows: readonly number[], values: Values, width: number) =>
    Float32Array.from({ length: rows.length * width }, (_, at) => {
      const row = rows[Math.floor(at / width)] ?? 0
      return values[row * width + (at % width)] ?? Number.NaN
    })
  for (const [at, half] of halves.entries()) {
    const fitted = rowsOf(halves[1 - at] ?? order)
    const calibration = calibrate(space.problem, {
      outputs: pick(fitted, outputs, C),
      targets: lossTargets(space, pick(fitted, targets, width)),
      width: C,
    })
    for (const row of rowsOf(half))
      calibrated.set(calibratedOutputs(outputs.subarray(row * C, (row + 1) * C), calibration), row * C)
  }
  return calibrationError(space, { ...evaluation, outputs: calibrated, predictions: predictions(space, calibrated) })
}
