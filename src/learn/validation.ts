// What a training run is judged by: a dev part, or cross-validation where examples are too few to keep some of them out
// of training.

import { type LabelSpace, outputCount } from '../data/label-space.js'
import type { Calibration } from './calibration.js'
import type { Evaluation } from './evaluated-examples.js'
import { evaluationOf } from './evaluation.js'
import { byStratum, labelStarts, type Subset } from './example-set.js'
import type { Random } from './random.js'
import type { TrainingData } from './training-data.js'

/** Examples to train on, and examples that are held out. They may be of different sets. */
export interface Fold {
  readonly train: Subset
  readonly heldOut: Subset
}

/** Divides a subset into folds of equal size. Every label of texts is spread over all folds. */
export function foldsOf({ set, examples }: Subset, space: LabelSpace, count: number, random: Random): readonly Fold[] {
  const shuffled = random.order(examples.length).map((at) => examples[at] ?? 0)
  const foldOf = new Map<number, number>()
  for (const group of byStratum({ set, examples: shuffled }, space))
    for (const example of group) foldOf.set(example, foldOf.size % count)
  return Array.from({ length: count }, (_, fold) => ({
    train: { set, examples: examples.filter((example) => foldOf.get(example) !== fold) },
    heldOut: { set, examples: examples.filter((example) => foldOf.get(example) === fold) },
  }))
}

/** Examples to train on, and the folds in which they are held out; a dev part is the only fold. */
export interface Validation {
  readonly train: Subset
  readonly folds: readonly Fold[]
}

/** With fewer examples, or fewer for each label, a dev part would be too small to judge by. */
const fewExamples = 500
/** The correlation of 100 numbers still has a standard error of 0.1. */
const fewNumbers = 1_000
const fewPerLabel = 20
/** Cross-validation of more would take too long. */
const mostCrossValidated = 2_000

/** Cross-validation if the dev part was split off from few examples, otherwise the dev part. */
export function validationOf(
  { space, train, dev }: Omit<TrainingData, 'texts' | 'heldOut'>,
  random: Random,
): Validation {
  const count = train.examples.length + dev.examples.length
  const least = space.problem === 'regression' ? fewNumbers : fewExamples
  const few = Math.min(Math.max(least, fewPerLabel * space.labels.length), mostCrossValidated)
  if (dev.set !== train.set || count >= few) return { train, folds: [{ train, heldOut: dev }] }
  const examples = Int32Array.from([...train.examples, ...dev.examples]).sort()
  const all = { set: train.set, examples }
  // Small folds leave more to train on, and cost little where examples are very few.
  return { train: all, folds: foldsOf(all, space, Math.min(count, count < 100 ? 5 : 3), random) }
}

/** The held-out examples of all folds, in the order of the examples. */
export function heldOutOf({ train, folds }: Validation): Subset {
  const subset = folds.length > 1 ? train : folds[0]?.heldOut
  if (subset === undefined) throw new Error('there is nothing to judge by')
  return subset
}

/**
 * How a model does on the held-out examples of all folds, in the order of the examples.
 * @param outputs [N, C] of the held-out examples of each fold, not calibrated
 */
export function evaluateHeldOut(
  outputs: readonly Float32Array[],
  { factor, shifts }: Pick<Calibration, 'factor' | 'shifts'>,
  space: LabelSpace,
  validation: Validation,
): Evaluation {
  const C = outputCount(space)
  const subset = heldOutOf(validation)
  const inOrder = new Float32Array(outputs.reduce((sum, { length }) => sum + length, 0))
  for (const [at, fold] of validation.folds.entries()) {
    const own = outputs[at] ?? new Float32Array()
    for (const [from, place] of targetPlaces(subset, fold.heldOut).entries())
      for (let i = 0; i < C; i++) inOrder[place * C + i] = factor * (own[from * C + i] ?? 0) + (shifts[i] ?? 0)
  }
  return evaluationOf(inOrder, space, subset)
}

/** Where the targets of some examples are among those of a subset; examples that it does not have are left out. */
export function targetPlaces(within: Subset, { examples }: Pick<Subset, 'examples'>): Int32Array {
  const starts = labelStarts(within)
  const places = new Map(Array.from(within.examples, (example, at) => [example, at]))
  return Int32Array.from(
    Array.from(examples).flatMap((example) => {
      const at = places.get(example)
      if (at === undefined) return []
      const [start = 0, end = 0] = starts.subarray(at, at + 2)
      return Array.from({ length: end - start }, (_, i) => start + i)
    }),
  )
}
