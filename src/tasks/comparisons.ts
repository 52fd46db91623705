// Whether two versions of a task predict the same for a text. Small differences of numbers do not count.

import type { Prediction } from './predictions.js'

/** Scores of a regression differ if they are further apart than this part of the larger one. */
const relativeTolerance = 0.05
/** Vectors differ if the cosine of their angle is less. */
const leastCosine = 0.99

export function isSame(a: Prediction, b: Prediction): boolean {
  if ('embedding' in a) return 'embedding' in b && cosine(a.embedding, b.embedding) >= leastCosine
  if ('words' in a) return 'words' in b && isEqual(labelsOf(a.words), labelsOf(b.words))
  if ('labels' in a) return 'labels' in b && isEqual(a.labels.toSorted(), b.labels.toSorted())
  if ('label' in a) return 'label' in b && !('labels' in b) && a.label === b.label
  return !('label' in b) && 'score' in b && isNear(a.score, b.score)
}

const labelsOf = (words: readonly { readonly text: string; readonly label: string }[]): string[] =>
  words.map(({ text, label }) => `${label} ${text}`)

const isEqual = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((value, index) => value === b[index])

const isNear = (a: number, b: number): boolean =>
  Math.abs(a - b) <= relativeTolerance * Math.max(Math.abs(a), Math.abs(b))

/** 0 for vectors of different sizes. */
function cosine(a: readonly number[], b: readonly number[]): number {
  if (a.length !== b.length) return 0
  let [product, squaresOfA, squaresOfB] = [0, 0, 0]
  for (const [index, value] of a.entries()) {
    const other = b[index] ?? 0
    product += value * other
    squaresOfA += value * value
    squaresOfB += other * other
  }
  return product / Math.sqrt(squaresOfA * squaresOfB || 1)
}
