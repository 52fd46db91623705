// 95 % confidence intervals of scores: Wilson's interval for the accuracy of independent examples, and the bootstrap for
// other metrics.

import type { LabelSpace } from '../data/label-space.js'
import type { Evaluation, Values } from './evaluated-examples.js'
import { isShare, metricTable } from './metric-table.js'
import type { Metric } from './metrics.js'
import { problemTraits } from './problem-traits.js'
import type { Random } from './random.js'

export type Interval = readonly [low: number, high: number]

/** The interval of a score, or undefined if the examples say nothing about its accuracy. */
export function confidenceInterval(
  metric: Metric,
  space: LabelSpace,
  evaluation: Evaluation,
  random: Random,
): Interval | undefined {
  const examples = evaluation.starts.length - 1
  const { score } = metricTable[metric]
  // The words of one text are not independent, so the accuracy of words is bootstrapped over texts.
  if (metric === 'accuracy' && problemTraits[space.problem].unit !== 'word')
    return wilson(score(space, evaluation), examples)
  const interval = bootstrap(metric, space, evaluation, random)
  if (interval[0] < interval[1]) return interval
  // If every example is right, so is every sample. The score may still be below 1 for other examples.
  return isShare(metric) ? wilson(score(space, evaluation), examples) : undefined
}

/** 97.5 % of a normal distribution are below this. */
const normalQuantile = 1.959963984540054

/** Wilson's score interval for a share of n (Wilson 1927). */
export function wilson(share: number, n: number): Interval {
  const z2 = normalQuantile ** 2
  const centre = share + z2 / (2 * n)
  const half = normalQuantile * Math.sqrt((share * (1 - share)) / n + z2 / (4 * n * n))
  return [Math.max(0, (centre - half) / (1 + z2 / n)), Math.min(1, (centre + half) / (1 + z2 / n))]
}

/**
 * The percentile interval of the score over samples of the examples, less the bias of the samples (Efron and Tibshirani
 * 1993): examples that occur twice in a sample make some metrics larger.
 */
function bootstrap(metric: Metric, space: LabelSpace, evaluation: Evaluation, random: Random): Interval {
  const examples = evaluation.starts.length - 1
  const samples = sampleCount(evaluation.outputs.length)
  const { scorer, score, range } = metricTable[metric]
  const scoreSample = scorer?.(space, evaluation) ?? ((picks: Int32Array) => score(space, resampled(evaluation, picks)))
  const scores = Float64Array.from({ length: samples }, () =>
    scoreSample(Int32Array.from({ length: examples }, () => random.below(examples))),
  ).sort()
  const bias = scores.reduce((sum, value) => sum + value, 0) / samples - score(space, evaluation)
  const at = (index: number) => {
    const corrected = (scores[index] ?? Number.NaN) - bias
    return Math.min(Math.max(corrected, range[0]), range[1])
  }
  return [at(Math.floor(0.025 * samples)), at(Math.ceil(0.975 * samples) - 1)]
}

/** Fewer samples of many outputs, to limit the time. */
const sampleCount = (outputs: number): number => Math.min(Math.max(Math.ceil(5e7 / outputs), 200), 1000)

/** Some examples of an evaluation, each as often as it is picked. */
export function resampled({ outputs, predictions, actual, starts }: Evaluation, picks: Int32Array): Evaluation {
  const ends = new Int32Array(picks.length + 1)
  for (const [at, pick] of picks.entries())
    ends[at + 1] = (ends[at] ?? 0) + (starts[pick + 1] ?? 0) - (starts[pick] ?? 0)
  const labels = starts[starts.length - 1] ?? 0
  const draw = (values: Values) => {
    const width = values.length / labels
    const picked = new Float64Array((ends[picks.length] ?? 0) * width)
    for (const [at, pick] of picks.entries()) {
      const [from, to] = [(starts[pick] ?? 0) * width, (starts[pick + 1] ?? 0) * width]
      for (let i = from, into = (ends[at] ?? 0) * width; i < to; i++, into++) picked[into] = values[i] ?? 0
    }
    return picked
  }
  return { outputs: draw(outputs), predictions: draw(predictions), actual: draw(actual), starts: ends }
}
