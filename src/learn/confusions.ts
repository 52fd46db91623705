// The pairs of labels that a task confuses most often.

import { type LabelSpace, labelNames, outputCount } from '../data/label-space.js'
import type { Predictions } from './evaluated-examples.js'

export interface Confusion {
  readonly actual: string
  readonly predicted: string
  /** Examples or words with this confusion, of all with the actual label. */
  readonly rows: number
  readonly of: number
}

export const describeConfusion = ({ actual, predicted, rows, of }: Confusion): string =>
  `${rows} of ${of} "${actual}" predicted as "${predicted}"`

/**
 * The most frequent first. In a multi-label classification, a label that is missing is confused with each label that is
 * predicted without applying. Empty if labels are numbers.
 */
export function findConfusions(space: LabelSpace, evaluation: Predictions): Confusion[] {
  if (space.labels.length === 0) return []
  const isMultiLabel = space.problem === 'multi_label_classification'
  const names = labelNames(space)
  // Sparse, because few of the C² pairs occur.
  const pairs = new Map<number, number>()
  const present = new Map<number, number>()
  for (const { label, predicted } of isMultiLabel
    ? missingLabels(evaluation, outputCount(space))
    : classes(evaluation)) {
    present.set(label, (present.get(label) ?? 0) + 1)
    for (const other of predicted)
      if (other !== label) pairs.set(label * names.length + other, (pairs.get(label * names.length + other) ?? 0) + 1)
  }
  return Array.from(pairs, ([pair, rows]): Confusion => {
    const label = Math.floor(pair / names.length)
    return {
      actual: names[label] ?? '',
      predicted: names[pair % names.length] ?? '',
      rows,
      of: present.get(label) ?? 0,
    }
  }).sort((a, b) => b.rows - a.rows || a.of - b.of)
}

/** A label of an example, and the labels that were predicted in its place. */
interface Outcome {
  readonly label: number
  readonly predicted: readonly number[]
}

function* classes({ predictions, actual }: Predictions): Generator<Outcome> {
  for (const [at, label] of actual.entries()) {
    const predicted = predictions[at] ?? -1
    if (label >= 0 && predicted >= 0) yield { label, predicted: [predicted] }
  }
}

function* missingLabels({ predictions, actual }: Predictions, C: number): Generator<Outcome> {
  const all = Array.from({ length: C }, (_, label) => label)
  for (let start = 0; start < actual.length; start += C) {
    const wrong = all.filter((label) => predictions[start + label] === 1 && actual[start + label] !== 1)
    for (const label of all)
      if (actual[start + label] === 1) yield { label, predicted: predictions[start + label] === 1 ? [] : wrong }
  }
}
