// Calibration: changes a head's outputs so that probabilities agree with how often predictions are right (Guo et al. 2017,
// temperature scaling). The change is folded into the head, so serving needs nothing more. A regression's outputs get the
// slope and the intercept of the least squares line.

import type { ProblemType } from '../petl/task.js'
import { sigmoid } from './probabilities.js'
import type { Tensor } from './tensors.js'

export interface Calibration {
  /** Output c becomes factor · output + shifts[c]. */
  readonly factor: number
  /** [C] */
  readonly shifts: Float64Array
  /** Mean loss of the calibrated outputs. */
  readonly loss: number
}

/** Outputs of examples that the head was not trained on, with their targets as the loss takes them: [N, C] each. */
export interface HeldOutOutputs {
  readonly outputs: ArrayLike<number>
  readonly targets: Float32Array
  /** C */
  readonly width: number
}

/** Factors that are considered; the loss has one minimum between them. */
const bounds = [Math.log(0.02), Math.log(20)] as const
/** They narrow the bounds to a factor of 1.0001. */
const goldenSteps = 24

/** @param heldOut rows with NaN are left out */
export function calibrate(problem: ProblemType, heldOut: HeldOutOutputs): Calibration {
  const known = withoutGaps(heldOut)
  switch (problem) {
    case 'single_label_classification':
    case 'token_classification':
      return temperature(known)
    case 'multi_label_classification':
      return labelCalibration(known)
    case 'regression':
      return leastSquares(known)
    case 'feature_extraction': {
      const identity = { factor: 1, shifts: new Float64Array(1) }
      return { ...identity, loss: meanSquaredError(known, identity) }
    }
  }
}

/** A head whose outputs are calibrated. */
export const calibratedHead = (
  head: readonly Tensor[],
  { factor, shifts }: Pick<Calibration, 'factor' | 'shifts'>,
): readonly Tensor[] =>
  head.map((tensor) => {
    switch (tensor.name) {
      case 'head.weight':
        return { ...tensor, values: tensor.values.map((value) => factor * value) }
      case 'head.bias':
        return { ...tensor, values: tensor.values.map((value, output) => factor * value + (shifts[output] ?? 0)) }
      default:
        return tensor
    }
  })

/** Calibrated outputs, [N, C]. */
export const calibratedOutputs = (
  outputs: ArrayLike<number>,
  { factor, shifts }: Pick<Calibration, 'factor' | 'shifts'>,
): Float32Array => Float32Array.from(outputs, (output, at) => factor * output + (shifts[at % shifts.length] ?? 0))

function temperature(known: HeldOutOutputs): Calibration {
  const factor = bestFactor((factor) => meanCrossEntropy(known, factor))
  return { factor, shifts: new Float64Array(known.width), loss: meanCrossEntropy(known, factor) }
}

/** The factor with the lowest loss: golden-section search over its logarithm. */
function bestFactor(loss: (factor: number) => number): number {
  const ratio = (Math.sqrt(5) - 1) / 2
  const at = (place: number) => ({ place, loss: loss(Math.exp(place)) })
  let [low, high]: [number, number] = [...bounds]
  let [left, right] = [at(high - ratio * (high - low)), at(low + ratio * (high - low))]
  for (let step = 0; step < goldenSteps; step++)
    if (left.loss < right.loss) {
      high = right.place
      right = left
      left = at(high - ratio * (high - low))
    } else {
      low = left.place
      left = right
      right = at(low + ratio * (high - low))
    }
  return Math.exp((low + high) / 2)
}

/** Alternating minimisations of {@link labelCalibration}; the objective is convex and near its minimum after three. */
const rounds = 3

/**
 * One factor for all labels, which scales the distance of outputs from their mean, and a shift for each label, so that the
 * mean probability agrees with the frequency of the label (Platt 1999). A penalty of shift²/2 on the sum of the losses
 * keeps the shifts of labels small that have few examples.
 */
function labelCalibration(known: HeldOutOutputs): Calibration {
  const { outputs, width } = known
  const rows = outputs.length / width
  const means = new Float64Array(width)
  for (let i = 0; i < outputs.length; i++) means[i % width] = (means[i % width] ?? 0) + (outputs[i] ?? 0) / rows
  let corrections: Float64Array = new Float64Array(width)
  const shiftsAt = (factor: number) => corrections.map((own, label) => own + (1 - factor) * (means[label] ?? 0))
  let factor = 1
  for (let round = 0; round < rounds; round++) {
    factor = bestFactor((factor) => meanBinaryCrossEntropy(known, factor, shiftsAt(factor)))
    corrections = correctedShifts(known, factor, shiftsAt(factor), corrections)
  }
  const shifts = shiftsAt(factor)
  return { factor, shifts, loss: meanBinaryCrossEntropy(known, factor, shifts) }
}

const newtonSteps = 5

/** Newton's method for the correction of each label. */
function correctedShifts(
  { outputs, targets, width }: HeldOutOutputs,
  factor: number,
  shifts: Float64Array,
  corrections: Float64Array,
): Float64Array {
  return corrections.map((start, label) => {
    let correction = start
    for (let step = 0; step < newtonSteps; step++) {
      let [slope, curvature] = [correction, 1]
      for (let i = label; i < outputs.length; i += width) {
        const probability = sigmoid(factor * (outputs[i] ?? 0) + (shifts[label] ?? 0) + correction - start)
        slope += probability - (targets[i] ?? 0)
        curvature += probability * (1 - probability)
      }
      correction -= slope / curvature
    }
    return correction
  })
}

/** The line with the least squared error from outputs to targets, one of each per row. It does not fall. */
export function leastSquares(known: HeldOutOutputs): Calibration {
  const { outputs, targets } = known
  const N = outputs.length
  const mean = (values: ArrayLike<number>) => {
    let sum = 0
    for (let i = 0; i < N; i++) sum += values[i] ?? 0
    return sum / N
  }
  const [meanOutput, meanTarget] = [mean(outputs), mean(targets)]
  let [products, squares] = [0, 0]
  for (let i = 0; i < N; i++) {
    const distance = (outputs[i] ?? 0) - meanOutput
    products += distance * ((targets[i] ?? 0) - meanTarget)
    squares += distance * distance
  }
  // Outputs that fall where labels rise say nothing about new texts.
  const factor = squares > 0 ? Math.max(products / squares, 0) : 1
  const line = { factor, shifts: Float64Array.of(meanTarget - factor * meanOutput) }
  return { ...line, loss: meanSquaredError(known, line) }
}

function withoutGaps({ outputs, targets, width }: HeldOutOutputs): HeldOutOutputs {
  const rows = Array.from({ length: outputs.length / width }, (_, row) => row).filter(
    (row) => !Number.isNaN(outputs[row * width]),
  )
  if (rows.length * width === outputs.length) return { outputs, targets, width }
  const pick = (values: ArrayLike<number>) =>
    Float32Array.from({ length: rows.length * width }, (_, at) => {
      const row = rows[Math.floor(at / width)] ?? 0
      return values[row * width + (at % width)] ?? Number.NaN
    })
  return { outputs: pick(outputs), targets: pick(targets), width }
}

function meanCrossEntropy({ outputs, targets, width }: HeldOutOutputs, factor: number): number {
  let sum = 0
  for (let start = 0; start < outputs.length; start += width) {
    let largest = Number.NEGATIVE_INFINITY
    for (let i = start; i < start + width; i++) largest = Math.max(largest, (outputs[i] ?? 0) * factor)
    let [partition, expected] = [0, 0]
    for (let i = start; i < start + width; i++) {
      const output = (outputs[i] ?? 0) * factor - largest
      partition += Math.exp(output)
      expected += (targets[i] ?? 0) * output
    }
    sum += Math.log(partition) - expected
  }
  return sum / (outputs.length / width)
}

function meanBinaryCrossEntropy(
  { outputs, targets, width }: HeldOutOutputs,
  factor: number,
  shifts: Float64Array,
): number {
  let sum = 0
  for (let i = 0; i < outputs.length; i++) {
    const output = (outputs[i] ?? 0) * factor + (shifts[i % width] ?? 0)
    sum += Math.max(output, 0) + Math.log1p(Math.exp(-Math.abs(output))) - output * (targets[i] ?? 0)
  }
  return sum / outputs.length
}

function meanSquaredError(
  { outputs, targets }: HeldOutOutputs,
  { factor, shifts: [shift = 0] }: Omit<Calibration, 'loss'>,
): number {
  let sum = 0
  for (let i = 0; i < outputs.length; i++) sum += (factor * (outputs[i] ?? 0) + shift - (targets[i] ?? 0)) ** 2
  return sum / outputs.length
}
