// What a task's labels are: the problem type, the names in their order or the range of the numbers, and a row's
// target as the loss wants it.

import type { ProblemType } from '../formats/task-file.js'
import { Problem } from '../problem.js'
import type { Example } from './examples.js'

/** Token classification and feature extraction are served, but not learned here. */
export type LearnableProblem = Exclude<ProblemType, 'token_classification' | 'feature_extraction'>

export const learnableProblems = [
  'single_label_classification',
  'multi_label_classification',
  'regression',
] as const satisfies readonly LearnableProblem[]

export interface LabelSpace {
  readonly problem: LearnableProblem
  /** Empty for a regression. */
  readonly labels: readonly string[]
  /** Smallest and largest number of a regression. */
  readonly range?: readonly [number, number]
  /** Mean and standard deviation of a regression's numbers: a head learns them as (y − mean)/deviation. */
  readonly spread?: { readonly mean: number; readonly deviation: number }
}

/** C: the outputs of a head. */
export const outputsOf = ({ problem, labels }: LabelSpace): number => (problem === 'regression' ? 1 : labels.length)

/** Numbers that a row's target takes: C where several labels may apply, else the label's index or the number. */
export const targetWidth = (space: LabelSpace): number =>
  space.problem === 'multi_label_classification' ? space.labels.length : 1

/**
 * Goes through all labels once. Arrays make a multi-label classification, numbers with a fraction a regression, all
 * else a single-label classification, unless `problem` says otherwise. Texts that are numbers, as CSV has them, count as
 * numbers if all of them are.
 * @throws Problem `invalid_data` for labels of mixed kinds, none, or only one
 */
export async function surveyLabels(
  examples: AsyncIterable<Example>,
  path: string,
  problem?: LearnableProblem,
): Promise<LabelSpace> {
  const names = new Set<string>()
  let kind: 'array' | 'number' | 'text' | undefined
  let fractions = false
  let firstWord: { readonly place: string; readonly label: string } | undefined
  let low = Number.POSITIVE_INFINITY
  let high = Number.NEGATIVE_INFINITY
  const moments = { count: 0, mean: 0, squares: 0 }
  for await (const { label, place } of examples) {
    const own = typeof label === 'number' ? 'number' : typeof label === 'string' ? 'text' : 'array'
    kind ??= own
    if (kind !== own) refuse(place, `the label is of kind "${own}", those before it of kind "${kind}"`)
    const value = numberOf(label)
    if (value !== undefined) {
      fractions ||= !Number.isInteger(value)
      low = Math.min(low, value)
      high = Math.max(high, value)
      const distance = value - moments.mean
      moments.mean += distance / ++moments.count
      moments.squares += distance * (value - moments.mean)
    } else if (typeof label === 'string') firstWord ??= { place, label }
    if (problem !== 'regression' && !(fractions && kind === 'number'))
      for (const name of Array.isArray(label) ? label : [label]) names.add(String(name))
  }
  if (kind === undefined) return refuse(path, 'there are no rows')
  if (firstWord && (problem === 'regression' || (problem === undefined && fractions)))
    refuse(
      firstWord.place,
      `the label is ${JSON.stringify(firstWord.label)}, others are numbers; a regression takes finite numbers alone, ` +
        'and if the labels are names, say so by the problem type',
    )
  const found =
    problem ??
    (kind === 'array' ? 'multi_label_classification' : fractions ? 'regression' : 'single_label_classification')
  if ((kind === 'array') !== (found === 'multi_label_classification'))
    refuse(path, `a ${found} does not go with labels of kind "${kind}"`)
  if (found === 'regression') {
    if (low === high) refuse(path, `every row has the same number, ${low}; there is nothing to learn`)
    const { mean, squares, count } = moments
    const spread = { mean, deviation: Math.sqrt(squares / count) }
    return { problem: found, labels: [], range: [low, high], spread }
  }
  if (fractions && kind === 'number') refuse(path, `a ${found} does not go with numbers that have fractions`)
  if (names.size < 2)
    refuse(path, `every row has the same label, ${JSON.stringify([...names][0])}; expected at least 2`)
  const numeric = kind !== 'array' && firstWord === undefined
  const labels = [...names].sort((a, b) => (numeric ? Number(a) - Number(b) : a < b ? -1 : 1))
  return { problem: found, labels }
}

/**
 * Writes a row's target.
 * @param into of targetWidth(space) elements
 * @throws Problem `invalid_data` for a label that the space lacks
 */
export function writeTarget(space: LabelSpace, { label, place }: Example, into: Float32Array): void {
  if (space.problem === 'regression') {
    into[0] = numberOf(label) ?? refuse(place, `the label is ${JSON.stringify(label)}; expected a finite number`)
    return
  }
  const indexOf = (name: string) => {
    const index = space.labels.indexOf(name)
    return index >= 0 ? index : refuse(place, `label ${JSON.stringify(name)} is not among those learned from`)
  }
  if (space.problem === 'single_label_classification') {
    if (typeof label === 'object') refuse(place, 'the label is an array; expected one label')
    into[0] = indexOf(String(label))
    return
  }
  if (typeof label !== 'object') refuse(place, 'the label is not an array; expected an array of labels')
  into.fill(0)
  for (const name of label) into[indexOf(name)] = 1
}

/** The number that a label is, or that its text says. */
function numberOf(label: Example['label']): number | undefined {
  if (typeof label === 'object' || (typeof label === 'string' && label.trim() === '')) return undefined
  const value = Number(label)
  return Number.isFinite(value) ? value : undefined
}

/** Targets as the loss takes them, [rows, C]: a 1 at the class of a row, 1 for each label, or the scaled number. */
export function lossTargets(space: LabelSpace, targets: Float32Array): Float32Array {
  const { spread: scale } = space
  if (scale) return targets.map((target) => (target - scale.mean) / scale.deviation)
  if (space.problem !== 'single_label_classification') return targets
  const C = space.labels.length
  const spread = new Float32Array(targets.length * C)
  for (const [row, label] of targets.entries()) spread[row * C + label] = 1
  return spread
}

function refuse(place: string, what: string): never {
  throw new Problem('invalid_data', `${place}: ${what}`)
}
