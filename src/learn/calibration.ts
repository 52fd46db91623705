// Calibration: scales a head's outputs so that probabilities agree with how often predictions are right (Guo et al. 2017,
// temperature scaling). The scale is folded into the head, so serving needs nothing more. A regression's outputs get the
// slope and the intercept of the least squares line.

import type { ProblemType } from '../petl/task.js'
import type { Tensor } from './tensors.js'

export interface Calibration {
  /** Outputs become factor · output + shift. */
  readonly factor: number
  readonly shift: number
  /** Mean loss of the calibrated outputs. */
  readonly loss: number
}

/** Outputs of examples that the head was not trained on, with their targets as the loss takes them: [N, C] each. */
export interface HeldOutOutputs {
  readonly outputs: Float32Array
  readonly targets: Float32Array
  /** C */
  readonly width: number
}

const identity = { factor: 1, shift: 0 } as const

/** Factors that are considered; the loss has one minimum between them. */
const bounds = [Math.log(0.02), Math.log(20)] as const
const goldenSteps = 40

/** @param heldOut rows with NaN are left out */
export function calibrate(problem: ProblemType, heldOut: HeldOutOutputs): Calibration {
  const known = withoutGaps(heldOut)
  switch (problem) {
    case 'single_label_classification':
    case 'token_classification':
      return scaled((factor) => meanCrossEntropy(known, factor))
    case 'multi_label_classification':
      return scaled((factor) => meanBinaryCrossEntropy(known, factor))
    case 'regression':
      return leastSquares(known)
    case 'feature_extraction':
      return { ...identity, loss: meanSquaredError(known, identity) }
  }
}

/** A linear head whose outputs are calibrated. */
export const calibratedHead = (head: readonly Tensor[], { factor, shift }: Calibration): readonly Tensor[] =>
  head.map((tensor) => {
    const own = tensor.name === 'head.bias' ? shift : 0
    return { ...tensor, values: tensor.values.map((value) => factor * value + own) }
  })

/** Golden-section search over the logarithm of the factor. */
function scaled(loss: (factor: number) => number): Calibration {
  const ratio = (Math.sqrt(5) - 1) / 2
  let [low, high]: [number, number] = [...bounds]
  for (let step = 0; step < goldenSteps; step++) {
    const [left, right] = [high - ratio * (high - low), low + ratio * (high - low)]
    if (loss(Math.exp(left)) < loss(Math.exp(right))) high = right
    else low = left
  }
  const factor = Math.exp((low + high) / 2)
  return { factor, shift: 0, loss: loss(factor) }
}

function leastSquares(known: HeldOutOutputs): Calibration {
  const { outputs, targets } = known
  const N = outputs.length
  const mean = (values: Float32Array) => values.reduce((sum, value) => sum + value, 0) / N
  const [meanOutput, meanTarget] = [mean(outputs), mean(targets)]
  let [products, squares] = [0, 0]
  for (let i = 0; i < N; i++) {
    const distance = (outputs[i] ?? 0) - meanOutput
    products += distance * ((targets[i] ?? 0) - meanTarget)
    squares += distance * distance
  }
  // Outputs that fall where labels rise say nothing about new texts.
  const factor = squares > 0 ? Math.max(products / squares, 0) : 1
  const line = { factor, shift: meanTarget - factor * meanOutput }
  return { ...line, loss: meanSquaredError(known, line) }
}

function withoutGaps({ outputs, targets, width }: HeldOutOutputs): HeldOutOutputs {
  const rows = Array.from({ length: outputs.length / width }, (_, row) => row).filter(
    (row) => !Number.isNaN(outputs[row * width]),
  )
  if (rows.length * width === outputs.length) return { outputs, targets, width }
  const pick = (values: Float32Array) =>
    Float32Array.from(rows.flatMap((row) => [...values.subarray(row * width, (row + 1) * width)]))
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

function meanBinaryCrossEntropy({ outputs, targets }: HeldOutOutputs, factor: number): number {
  let sum = 0
  for (let i = 0; i < outputs.length; i++) {
    const output = (outputs[i] ?? 0) * factor
    sum += Math.max(output, 0) + Math.log1p(Math.exp(-Math.abs(output))) - output * (targets[i] ?? 0)
  }
  return sum / outputs.length
}

function meanSquaredError({ outputs, targets }: HeldOutOutputs, { factor, shift }: Omit<Calibration, 'loss'>): number {
  let sum = 0
  for (let i = 0; i < outputs.length; i++) sum += (factor * (outputs[i] ?? 0) + shift - (targets[i] ?? 0)) ** 2
  return sum / outputs.length
}

/**
 * Expected calibration error: the mean distance between confidence and accuracy over ten bins of equal width (Guo et al.
 * 2017).
 * @param confidences of the predicted classes
 * @param correct 1 where the prediction is right
 */
export function expectedCalibrationError(confidences: ArrayLike<number>, correct: ArrayLike<number>): number {
  const bins = Array.from({ length: 10 }, () => ({ confidence: 0, correct: 0 }))
  for (let i = 0; i < confidences.length; i++) {
    const confidence = confidences[i] ?? 0
    const bin = bins[Math.min(9, Math.floor(confidence * 10))]
    if (bin === undefined) continue
    bin.confidence += confidence
    bin.correct += correct[i] ?? 0
  }
  return bins.reduce((sum, bin) => sum + Math.abs(bin.confidence - bin.correct), 0) / confidences.length
}
