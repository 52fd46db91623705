// How probabilities become predicted labels: the thresholds of labels, which held-out predictions suggest. Probabilities
// stay as they are, so they remain calibrated.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import { leastSquares } from './calibration.js'
import type { Evaluation, Values } from './evaluated-examples.js'
import { scoreOf } from './evaluation.js'
import { merit } from './metric-table.js'
import type { Metric } from './metrics.js'
import { logOdds, sigmoid } from './probabilities.js'
import { problemTraits } from './problem-traits.js'

/**
 * How much more rare labels of a single-label classification count than frequent ones. `balanced`: as if all labels were
 * equally frequent. `auto`: what the metric of the task rewards.
 */
export const classWeightings = ['auto', 'balanced', 'none'] as const
export type ClassWeighting = (typeof classWeightings)[number]

/** A label space with its thresholds, and the evaluation with the predictions that follow from them. */
export interface Decided {
  readonly space: LabelSpace
  readonly evaluation: Evaluation
}

/**
 * Selects thresholds, unless they are given.
 * @param evaluation of held-out examples, with calibrated outputs
 */
export function decide(space: LabelSpace, metric: Metric, weighting: ClassWeighting, evaluation: Evaluation): Decided {
  if (space.thresholds !== undefined) return { space, evaluation }
  switch (space.problem) {
    case 'multi_label_classification':
      return decidedBy({ ...space, thresholds: labelThresholds(space, metric, evaluation.outputs) }, evaluation)
    case 'single_label_classification':
      return weighted(space, metric, weighting, evaluation)
    case 'regression':
    case 'token_classification':
    case 'feature_extraction':
      return { space, evaluation }
  }
}

const decidedBy = (space: LabelSpace, evaluation: Evaluation): Decided => ({
  space,
  evaluation: { ...evaluation, predictions: problemTraits[space.problem].predictions(space, evaluation.outputs) },
})

/** Micro F1 is largest with one threshold for all labels, other metrics with one for each (Lipton et al. 2014). */
function labelThresholds(space: LabelSpace, metric: Metric, outputs: Values): Float32Array {
  const C = outputCount(space)
  if (metric === 'micro_f1') return new Float32Array(C).fill(bestThreshold(outputs, 0, 1))
  const positives = new Float64Array(C)
  for (const [at, output] of outputs.entries()) positives[at % C] = (positives[at % C] ?? 0) + sigmoid(output)
  const own = Float32Array.from({ length: C }, (_, label) => logOdds(bestThreshold(outputs, label, C)))
  const frequencies = positives.map((count) => Math.log(Math.max(count, Number.MIN_VALUE)))
  const { factor, shifts } = leastSquares({ outputs: frequencies, targets: own, width: 1 })
  return own.map((odds, label) => {
    const usual = factor * (frequencies[label] ?? 0) + (shifts[0] ?? 0)
    const count = positives[label] ?? 0
    const share = count / (count + sharedPositives)
    return withinBounds(sigmoid(share * odds + (1 - share) * usual))
  })
}

/**
 * Expected positive examples for which the own threshold of a label counts as much as the one that is usual for labels of
 * its frequency, both as log-odds. The usual one is on the least squares line of all labels. The probabilities of a few
 * positive examples say little about where a threshold should be.
 */
const sharedPositives = 20

/** Thresholds are within these bounds, so that they stay above 0 and below 1 as float32. */
const thresholdBounds = [1e-6, 1 - 1e-6] as const

const withinBounds = (threshold: number): number =>
  Math.min(Math.max(threshold, thresholdBounds[0]), thresholdBounds[1])

/**
 * The threshold with the largest expected F1 under the probabilities themselves. The labels of held-out examples are not
 * used: for a rare label with a few of them, the threshold that suits them best is mostly chance.
 * @param outputs those at `first`, `first + step` and so on belong to the label
 */
function bestThreshold(outputs: Values, first: number, step: number): number {
  const probabilities = Float64Array.from({ length: Math.ceil((outputs.length - first) / step) }, (_, at) =>
    sigmoid(outputs[first + at * step] ?? 0),
  )
    .sort()
    .reverse()
  const positives = probabilities.reduce((sum, probability) => sum + probability, 0)
  let best = { expected: 0, threshold: 0.5 }
  let hits = 0
  for (const [at, probability] of probabilities.entries()) {
    hits += probability
    const expected = (2 * hits) / (positives + at + 1)
    const next = probabilities[at + 1] ?? 0
    if (expected > best.expected && next < probability) best = { expected, threshold: (probability + next) / 2 }
  }
  return withinBounds(best.threshold)
}

/** Exponents of the frequencies of labels, from all labels as frequent as they are to all equally frequent. */
const exponents = [0, 0.25, 0.5, 0.75, 1]

/**
 * Thresholds that are powers of the labels' frequencies. They have the effect of class weights on which label is predicted
 * (logit adjustment, Menon et al. 2021), and leave the probabilities alone.
 */
function weighted(space: LabelSpace, metric: Metric, weighting: ClassWeighting, evaluation: Evaluation): Decided {
  const shares = labelShares(space, evaluation)
  const at = (exponent: number) =>
    exponent === 0
      ? { space, evaluation }
      : decidedBy({ ...space, thresholds: shares.map((share) => share ** exponent) }, evaluation)
  if (weighting === 'balanced') return at(1)
  if (weighting === 'none' || metric === 'accuracy') return at(0)
  const score = ({ space, evaluation }: Decided) => merit(metric, scoreOf(metric, space, evaluation))
  return exponents.map(at).reduce((best, next) => (score(next) > score(best) ? next : best))
}

/** The share of each label, with one more example of every label so that none is 0. */
function labelShares(space: LabelSpace, { actual }: Evaluation): Float32Array {
  const counts = new Float32Array(outputCount(space)).fill(1)
  for (const label of actual) counts[label] = (counts[label] ?? 0) + 1
  return counts.map((count) => count / (actual.length + counts.length))
}
