// What learning has to know of each problem type: what has a target, what the target is to the loss, and what outputs
// are to the metrics. A further problem type is an entry here, an answer in tasks/predictions.ts, and its part of a task file.

import { tagsOf } from '../formats/iob.js'
import { defaultThreshold, type ProblemType } from '../petl/task.js'
import type { Columns, Example } from './examples.js'
import { throwInvalidData } from './invalid-data.js'
import { type LabelSpace, labelIndex, labelNumber, outputCount } from './label-space.js'
import { binaryCrossEntropy, crossEntropy, type Loss, squaredError } from './losses.js'
import type { Metric } from './metrics.js'

/**
 * What has a target, and outputs for it: a row's text, or pair that is read as one text; each word of the text; or the
 * two texts of a pair, each read by itself and compared.
 */
export type Unit = 'text' | 'word' | 'pair'

export interface ProblemTraits {
  readonly unit: Unit
  readonly labels: 'names' | 'numbers'
  readonly loss: Loss
  /** Numbers of a target. */
  readonly width: (space: LabelSpace) => number
  /**
   * The targets of an example, [units, width].
   * @throws Problem `invalid_data` for a label that is not of the space
   */
  readonly targets: (space: LabelSpace, example: Example) => ArrayLike<number>
  /** Targets as the loss takes them, [units, C]. */
  readonly lossTargets: (space: LabelSpace, targets: Float32Array) => Float32Array
  /** What outputs [units, C] say, as targets are: [units, width]. */
  readonly predictions: (space: LabelSpace, outputs: Float32Array) => Float32Array
  /** What it can be measured by, the default first. */
  readonly metrics: (space: LabelSpace) => readonly [Metric, ...Metric[]]
}

/** A class out of C, by its index. */
const classTraits = {
  labels: 'names',
  loss: crossEntropy,
  width: () => 1,
  lossTargets: (space, targets) => {
    const C = outputCount(space)
    const ones = new Float32Array(targets.length * C)
    for (const [unit, label] of targets.entries()) ones[unit * C + label] = 1
    return ones
  },
  predictions: (space, outputs) => {
    const C = outputCount(space)
    return Float32Array.from({ length: outputs.length / C }, (_, unit) =>
      largestIndex(outputs.subarray(unit * C, (unit + 1) * C)),
    )
  },
} as const satisfies Partial<ProblemTraits>

const numberTraits = {
  labels: 'numbers',
  loss: squaredError,
  width: () => 1,
  targets: (_, { label, place }) => [
    labelNumber(label) ?? throwInvalidData(place, `the label is ${JSON.stringify(label)}; expected a finite number`),
  ],
  predictions: (_, outputs) => outputs,
} as const satisfies Partial<ProblemTraits>

export const problemTraits: Readonly<Record<ProblemType, ProblemTraits>> = {
  single_label_classification: {
    ...classTraits,
    unit: 'text',
    targets: (space, { label, place }) => [
      typeof label === 'object'
        ? throwInvalidData(place, 'the label is an array; expected one label')
        : labelIndex(space, String(label), place),
    ],
    metrics: () => ['accuracy', 'macro_f1', 'accuracy_and_f1', 'matthews_correlation'],
  },
  multi_label_classification: {
    unit: 'text',
    labels: 'names',
    loss: binaryCrossEntropy,
    width: outputCount,
    targets: (space, { label, place }) => {
      if (typeof label !== 'object')
        return throwInvalidData(place, 'the label is not an array; expected an array of labels')
      const applies = new Float32Array(outputCount(space))
      for (const name of label) applies[labelIndex(space, name, place)] = 1
      return applies
    },
    lossTargets: (_, targets) => targets,
    predictions: ({ threshold = defaultThreshold }, outputs) => {
      const least = Math.log(threshold / (1 - threshold))
      return outputs.map((output) => (output >= least ? 1 : 0))
    },
    metrics: () => ['macro_f1'],
  },
  regression: {
    ...numberTraits,
    unit: 'text',
    lossTargets: ({ spread }, targets) =>
      spread ? targets.map((target) => (target - spread.mean) / spread.deviation) : targets,
    metrics: () => ['pearson_and_spearman', 'pearson', 'spearman'],
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
  // The cosine of two vectors is held against the similarity, scaled from its range to [0, 1]: the lowest label says
  // that texts have nothing in common, which is perpendicular, and not that they are opposite. So does
  // CosineSimilarityLoss of sentence-transformers with scores from 0 to 5 (Reimers and Gurevych 2019).
  feature_extraction: {
    ...numberTraits,
    unit: 'pair',
    lossTargets: ({ range: [low, high] = [0, 1] }, targets) => targets.map((target) => (target - low) / (high - low)),
    metrics: () => ['spearman', 'pearson', 'pearson_and_spearman'],
  },
}

/** Whether its tasks have heads; pairs of texts are compared as the backbone and the mask make them. */
export const hasHead = (problem: ProblemType): boolean => problemTraits[problem].unit !== 'pair'

/** How the columns of a file are read for a problem type; without one, its rows tell. */
export const columnsFor = (problem: ProblemType | undefined, columns: Columns): Columns => {
  if (problem === undefined) return columns
  const { unit } = problemTraits[problem]
  const listed = problem === 'multi_label_classification'
  return { ...columns, pairs: columns.pairs || unit === 'pair', tagged: unit === 'word', listed }
}

/** The prediction where there are no outputs but NaN: for a word that was cut off. */
export const noClass = -1

/** The index of the largest. */
function largestIndex(outputs: Float32Array): number {
  if (Number.isNaN(outputs[0])) return noClass
  return outputs.reduce((best, value, label) => (value > (outputs[best] ?? value) ? label : best), 0)
}
