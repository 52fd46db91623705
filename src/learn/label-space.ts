// What a task's labels are: the problem type, and the names in their order or the range of the numbers.

import type { ProblemType } from '../petl/task.js'
import type { Example } from './examples.js'
import { throwInvalidData } from './invalid-data.js'

export interface LabelSpace {
  readonly problem: ProblemType
  /** Empty where labels are numbers. */
  readonly labels: readonly string[]
  /** Smallest and largest label, where labels are numbers. */
  readonly range?: readonly [number, number]
  /** Mean and standard deviation of a regression's numbers: a head learns them as (y − mean)/deviation. */
  readonly spread?: { readonly mean: number; readonly deviation: number }
  /** Probability from which on a label of a multi-label classification applies. */
  readonly threshold?: number
}

/** C: outputs for each target, one for each label or one number. */
export const outputCount = ({ labels }: LabelSpace): number => Math.max(1, labels.length)

/** @throws Problem `invalid_data` for a label that the space lacks */
export function labelIndex({ labels }: LabelSpace, label: string, place: string): number {
  const index = labels.indexOf(label)
  return index >= 0 ? index : throwInvalidData(place, `label ${JSON.stringify(label)} is not among those learned from`)
}

/** The number that a label is, or that its text says. */
export function labelNumber(label: Example['label']): number | undefined {
  if (typeof label === 'object' || (typeof label === 'string' && label.trim() === '')) return undefined
  const value = Number(label)
  return Number.isFinite(value) ? value : undefined
}
