// The labels of a task: the problem type, with the label names in their order or the range of the numbers.

import type { WordRule } from '../formats/word-rule.js'
import type { ProblemType, Thresholds } from '../petl/task.js'
import { quotedList } from '../problem.js'
import type { Example } from './examples.js'
import { throwInvalidData } from './invalid-data.js'
import type { UnlearnedLabels } from './unlearned-labels.js'

export interface LabelSpace {
  readonly problem: ProblemType
  /** Empty if labels are numbers. */
  readonly labels: readonly string[]
  /** Smallest and largest label, if labels are numbers. */
  readonly range?: readonly [number, number]
  /** Mean and standard deviation of a regression's labels. Targets are (y − mean)/deviation. */
  readonly spread?: { readonly mean: number; readonly deviation: number }
  /**
   * Of a multi-label classification: the least probabilities at which labels apply. Of a single-label classification: the
   * predicted label is the one whose probability is largest relative to its threshold.
   */
  readonly thresholds?: Thresholds
  /** Collects the labels of examples that only score the task. Without it, such labels are rejected. */
  readonly unlearned?: UnlearnedLabels
  /** How the words of a text are found, if words have labels. */
  readonly words?: WordRule
  /** Name of the scheme in which the data tags entities: IOB1, IOB2, BIOES, BILOU, BMES or IO. Labels are always IOB2. */
  readonly tagScheme?: string
}

/** Whether the labels of a problem type are numbers. They are names otherwise. */
export const hasNumbers = (problem: ProblemType): boolean =>
  problem === 'regression' || problem === 'feature_extraction'

/** C, the number of outputs per target: one per label, or 1 for numbers. */
export const outputCount = ({ labels }: LabelSpace): number => Math.max(1, labels.length)

/** Number of labels that occur: the learned ones, then those that were not learned. */
export const labelCount = (space: LabelSpace): number => outputCount(space) + (space.unlearned?.size ?? 0)

/** Names by index: of the learned labels, then of those that were not learned. */
export const labelNames = ({ labels, unlearned }: LabelSpace): readonly string[] =>
  unlearned === undefined ? labels : [...labels, ...unlearned.names]

/**
 * The index of a label. White space around it makes no difference, nor does a whole number that is written as a float.
 * @returns outputCount or more for a label that was not learned
 * @throws Problem `invalid_data` for a label that is not in the space, unless the space collects such labels
 */
export function labelIndex(space: LabelSpace, label: string, place: string): number {
  const { labels, unlearned } = space
  const indexes = indexesOf(labels)
  const index = indexes.get(label) ?? indexes.get(spelledSimply(label))
  if (index !== undefined) return index
  if (unlearned) return outputCount(space) + unlearned.indexOf(label, place)
  return throwInvalidData(
    place,
    `label ${JSON.stringify(label)} is not a label of the task; expected one of ${shownLabels(labels)}`,
  )
}

const indexesByLabels = new WeakMap<readonly string[], ReadonlyMap<string, number>>()

function indexesOf(labels: readonly string[]): ReadonlyMap<string, number> {
  const known = indexesByLabels.get(labels)
  if (known) return known
  const indexes = new Map<string, number>()
  for (const [index, label] of labels.entries()) indexes.set(label, index)
  for (const [index, label] of labels.entries())
    if (!indexes.has(spelledSimply(label))) indexes.set(spelledSimply(label), index)
  indexesByLabels.set(labels, indexes)
  return indexes
}

const spelledSimply = (label: string): string => wholeNumberOf(label.trim()) ?? label.trim()

/** The digits of a whole number that is written as a float, such as "78.0". */
export const wholeNumberOf = (label: string): string | undefined => /^([+-]?\d+)\.0+$/.exec(label)?.[1]

const maxShownLabels = 10

/** The first labels, for messages. */
export const shownLabels = (labels: readonly string[]): string => quotedList(labels, maxShownLabels)

/** The value of a label that is a number or the text of one. */
export function labelNumber(label: Example['label']): number | undefined {
  if (typeof label === 'object' || (typeof label === 'string' && label.trim() === '')) return undefined
  const value = Number(label)
  return Number.isFinite(value) ? value : undefined
}
