// Every metric of an evaluation with its confidence interval, for reports.

import type { LabelSpace } from '../data/label-space.js'
import type { Evaluation } from './evaluated-examples.js'
import { scoreOf } from './evaluation.js'
import { confidenceInterval, type Interval } from './intervals.js'
import type { Metric } from './metrics.js'
import { problemTraits } from './problem-traits.js'
import { Random } from './random.js'

export interface Score {
  readonly metric: Metric
  readonly score: number
  /** 95 %; absent if the examples say nothing about it */
  readonly interval?: Interval
}

/** The scores of a metric and of others, by default all that apply. */
export const allScores = (
  metric: Metric,
  space: LabelSpace,
  evaluation: Evaluation,
  seed: number,
  others: readonly Metric[] = problemTraits[space.problem].metrics(space),
): readonly Score[] =>
  [...new Set([metric, ...others])].map((metric) => {
    const interval = confidenceInterval(metric, space, evaluation, new Random(seed, 'interval'))
    return { metric, score: scoreOf(metric, space, evaluation), ...(interval && { interval }) }
  })

/** As in "0.8123 (0.7840 to 0.8391)". */
export const shownScore = ({ score, interval }: Score): string =>
  interval === undefined ? shown(score) : `${shown(score)} (${shown(interval[0])} to ${shown(interval[1])})`

/** Four decimals, or four digits of a large number, such as the error of a price. */
const shown = (value: number): string =>
  Math.abs(value) < 100 ? value.toFixed(4) : String(Number(value.toPrecision(6)))

/** For reports in JSON: by metric. */
export const scoresAsJson = (scores: readonly Score[]): Readonly<Record<string, Omit<Score, 'metric'>>> =>
  Object.fromEntries(scores.map(({ metric, ...score }) => [metric, score]))
