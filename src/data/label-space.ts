// The labels of a task: the problem type, with the label names in their order or the range of the numbers.

import type { ProblemType } from '../petl/task.js'
import type { Example } from './examples.js'
import { throwInvalidData } from './invalid-data.js'

export interface LabelSpace {
  readonly problem: ProblemType
  /** Empty if labels are numbers. */
  readonly labels: readonly string[]
  /** Smallest and largest label, if labels are numbers. */
  readonly range?: readonly [number, number]
  /** Mean and standard deviation of a regression's labels. The head is trained on (y − mean)/deviation. */
  readonly spread?: { readonly mean: number; readonly deviation: number }
  /** Least probability at which a label of a multi-label classification applies. */
  readonly threshold?: number
}

/** Whether the labels of a problem type are numbers. They are names otherwise. */
export const hasNumbers = (problem: ProblemType): boolean =>
  problem === 'regression' || problem === 'feature_extraction'

/** C, the number of outputs per target: one per label, or 1 for numbers. */
export const outputCount = ({ labels }: LabelSpace): number => Math.max(1, labels.length)

/** @throws Problem `invalid_data` for a label that is not in the space */
export function labelIndex({ labels }: LabelSpace, label: string, place: string): number {
  const index = labels.indexOf(label)
  return index >= 0
    ? index
    : throwInvalidData(
        place,
        `label ${JSON.stringify(label)} is not a label of the task; expected one of ${shownLabels(labels)}`,
      )
}

const maxShownLabels = 10

const shownLabels = (labels: readonly string[]): string => {
  const more = labels.length - maxShownLabels
  const first = labels.slice(0, maxShownLabels).map((label) => JSON.stringify(label))
  return more > 0 ? `${first.join(', ')} and ${more} more` : first.join(', ')
}

/** The value of a label that is a number or the text of one. */
export function labelNumber(label: Example['label']): number | undefined {
  if (typeof label === 'object' || (typeof label === 'string' && label.trim() === '')) return undefined
  const value = Number(label)
  return Number.isFinite(value) ? value : undefined
}
