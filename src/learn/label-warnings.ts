// Warnings about the distribution of labels: outliers among numbers, and labels that accuracy hardly notices.

import type { LabelSpace } from '../data/label-space.js'
import type { ExampleSet } from './example-set.js'
import type { Metric } from './metrics.js'

/** The examples that are farthest from the mean, and the share of the variance from which they are outliers. */
const farthestShare = 0.01
const outlierVariance = 0.5

/** Among fewer numbers, one of them always has a large share. */
const fewestJudged = 50

/** A label of fewer examples is rare. */
const rareShare = 0.05

export function labelWarnings(space: LabelSpace, { targets }: ExampleSet, metric: Metric): readonly string[] {
  switch (space.problem) {
    case 'regression': {
      const share = varianceOfFarthest(targets)
      return targets.length >= fewestJudged && share > outlierVariance
        ? [
            `1 % of the labels account for ${Math.round(100 * share)} % of their variance, so these few examples decide ` +
              'what is learned; train on the logarithm of the labels, or correct or remove the outliers',
          ]
        : []
    }
    case 'single_label_classification': {
      const rare = rarest(targets, space.labels.length)
      return metric === 'accuracy' && rare.share < rareShare && rare.share * space.labels.length < 0.5
        ? [
            `only ${shownShare(rare.share)} of the examples have the label ${JSON.stringify(space.labels[rare.label])}, which ` +
              'accuracy hardly notices; --metric macro_f1 counts all labels equally, and predicts rare ones more often',
          ]
        : []
    }
    case 'multi_label_classification':
    case 'token_classification':
    case 'feature_extraction':
      return []
  }
}

/** @param targets standardised numbers */
function varianceOfFarthest(targets: Float32Array): number {
  const squares = targets.map((target) => target * target).sort()
  const sum = (values: Float32Array) => values.reduce((total, value) => total + value, 0)
  return sum(squares.subarray(squares.length - Math.ceil(farthestShare * squares.length))) / sum(squares)
}

function rarest(targets: Float32Array, labels: number): { readonly label: number; readonly share: number } {
  const counts = new Float64Array(labels)
  for (const label of targets) counts[label] = (counts[label] ?? 0) + 1
  const label = counts.indexOf(Math.min(...counts.filter((count) => count > 0)))
  return { label, share: (counts[label] ?? 0) / targets.length }
}

const shownShare = (share: number) => `${Number((100 * share).toPrecision(2))} %`
