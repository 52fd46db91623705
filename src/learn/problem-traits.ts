// What training and evaluation must know about each problem type: what has a label, how labels become targets of the
// loss, and how outputs become predictions for the metrics. Predictions of requests are made in tasks/.

import type { Example } from '../data/examples.js'
import { throwInvalidData } from '../data/invalid-data.js'
import { type LabelSpace, labelIndex, labelNumber, outputCount } from '../data/label-space.js'
import type { Label } from '../data/row-labels.js'
import { tagsOf } from '../formats/iob.js'
import { defaultThreshold, type ProblemType, thresholdOf } from '../petl/task.js'
import type { Values } from './evaluated-examples.js'
import { binaryCrossEntropy, crossEntropy, type Loss, squaredError } from './losses.js'
import type { Metric } from './metrics.js'

/**
 * What has a label: a text (or a pair that is encoded as one sequence), each word of a text, or a pair whose two texts
 * are encoded separately and compared.
 */
export type Unit = 'text' | 'word' | 'pair'

export interface ProblemTraits {
  readonly unit: Unit
  readonly loss: Loss
  /** Numbers per target. */
  readonly width: (space: LabelSpace) => number
  /**
   * The targets of an example, [N, width] for its N labels.
   * @throws Problem `invalid_data` for a label that is not in the space
   */
  readonly targets: (space: LabelSpace, example: Example) => ArrayLike<number>
  /** Targets as the loss takes them, [N, C]. */
  readonly lossTargets: (space: LabelSpace, targets: Float32Array) => Float32Array
  /** The labels that targets stand for, [N, width]: indexes of classes, or numbers in the units of the labels. */
  readonly labelsOf: (space: LabelSpace, targets: Float32Array) => Values
  /** Predictions from outputs [N, C], in the form of labels: [N, width]. */
  readonly predictions: (space: LabelSpace, outputs: Values) => Values
  /** Metrics that apply, the default first. */
  readonly metrics: (space: LabelSpace) => readonly [Metric, ...Metric[]]
}

/** One class out of C, as its index. */
const classTraits = {
  loss: crossEntropy,
  width: () => 1,
  labelsOf: (_, targets) => targets,
  lossTargets: (space, targets) => {
    const C = outputCount(space)
    const ones = new Float32Array(targets.length * C)
    for (const [at, label] of targets.entries()) if (label < C) ones[at * C + label] = 1
    return ones
  },
  predictions: (space, outputs) => {
    const { thresholds } = space
    const C = outputCount(space)
    const shifts = Float64Array.from({ length: C }, (_, label) =>
      thresholds === undefined ? 0 : Math.log(thresholdOf(thresholds, label)),
    )
    return Float32Array.from({ length: outputs.length / C }, (_, at) =>
      largestIndex(outputs.subarray(at * C, (at + 1) * C), shifts),
    )
  },
} as const satisfies Partial<ProblemTraits>

/** Annotation tools write one label as a list of one. */
function onlyLabel(label: Label, place: string): string {
  const [only, ...others] = typeof label === 'object' ? label : [String(label)]
  if (only === undefined || others.length > 0)
    return throwInvalidData(
      place,
      `the label is a list of ${others.length + (only === undefined ? 0 : 1)}; expected one label`,
    )
  return only
}

const numberTraits = {
  loss: squaredError,
  width: () => 1,
} as const satisfies Partial<ProblemTraits>

export const problemTraits: Readonly<Record<ProblemType, ProblemTraits>> = {
  single_label_classification: {
    ...classTraits,
    unit: 'text',
    targets: (space, { label, place }) => [labelIndex(space, onlyLabel(label, place), place)],
    metrics: () => ['accuracy', 'macro_f1', 'accuracy_and_f1', 'matthews_correlation'],
  },
  multi_label_classification: {
    unit: 'text',
    loss: binaryCrossEntropy,
    width: outputCount,
    targets: (space, { label, place }) => {
      if (typeof label !== 'object')
        return throwInvalidData(place, 'the label is not an array; expected an array of labels')
      const applies = new Float32Array(outputCount(space))
      // A label that was not learned has no output, and the array ignores its index.
      for (const name of label) applies[labelIndex(space, name, place)] = 1
      return applies
    },
    lossTargets: (_, targets) => targets,
    labelsOf: (_, targets) => targets,
    predictions: (space, outputs) => {
      const { thresholds = defaultThreshold } = space
      const C = outputCount(space)
      const minOutputs = Float64Array.from({ length: C }, (_, label) => {
        const threshold = thresholdOf(thresholds, label)
        return Math.log(threshold / (1 - threshold))
      })
      return Float32Array.from(outputs, (output, at) => (output >= (minOutputs[at % C] ?? 0) ? 1 : 0))
    },
    metrics: () => ['macro_f1', 'micro_f1', 'average_precision'],
  },
  regression: {
    ...numberTraits,
    unit: 'text',
    // Standardised before they become float32, because labels such as timestamps need more precision.
    targets: (space, example) => {
      const { mean, deviation } = spreadOf(space)
      return [(exampleNumber(example) - mean) / deviation]
    },
    lossTargets: (_, targets) => targets,
    labelsOf: (space, targets) => unstandardised(space, targets),
    predictions: (space, outputs) => unstandardised(space, outputs),
    metrics: () => ['r2', 'rmse', 'mae', 'pearson', 'spearman', 'pearson_and_spearman'],
  },
  token_classification: {
    ...classTraits,
    unit: 'word',
    targets: (space, { label, place }) =>
      typeof label === 'object'
        ? label.map((name) => labelIndex(space, name, place))
        : throwInvalidData(place, 'the label is not an array; expected a label for each word'),
    metrics: ({ labels }) => (tagsOf(labels) ? ['span_f1', 'accuracy'] : ['accuracy']),
  },
  // The target of the cosine of two vectors is the label, scaled from its range to [0, 1]. The lowest label means that
  // texts are unrelated, so their vectors should be perpendicular, not opposite. CosineSimilarityLoss of
  // sentence-transformers scales scores from 0 to 5 in the same way (Reimers and Gurevych 2019).
  feature_extraction: {
    ...numberTraits,
    unit: 'pair',
    targets: (_, example) => [exampleNumber(example)],
    lossTargets: ({ range: [low, high] = [0, 1] }, targets) => targets.map((target) => (target - low) / (high - low)),
    labelsOf: (_, targets) => targets,
    predictions: (_, outputs) => outputs,
    metrics: () => ['spearman', 'pearson', 'pearson_and_spearman'],
  },
}

/** Whether tasks of this type have heads. Pairs are compared by the vectors of backbone and mask alone. */
export const hasHead = (problem: ProblemType): boolean => problemTraits[problem].unit !== 'pair'

/** The prediction for a word without outputs, because its text was truncated. */
export const noClass = -1

/** Index of the largest output after its shift is subtracted, or noClass if the outputs are NaN. */
function largestIndex(outputs: Values, shifts: Float64Array): number {
  const at = (label: number) => (outputs[label] ?? Number.NaN) - (shifts[label] ?? 0)
  if (Number.isNaN(outputs[0])) return noClass
  let best = 0
  for (let label = 1; label < outputs.length; label++) if (at(label) > at(best)) best = label
  return best
}

function exampleNumber({ label, place }: Example): number {
  return (
    labelNumber(label) ?? throwInvalidData(place, `the label is ${JSON.stringify(label)}; expected a finite number`)
  )
}

/** Labels of an evaluated task are not standardised. */
const spreadOf = ({ spread = { mean: 0, deviation: 1 } }: LabelSpace) => spread

function unstandardised(space: LabelSpace, values: Values): Float64Array {
  const { mean, deviation } = spreadOf(space)
  return Float64Array.from(values, (value) => value * deviation + mean)
}
