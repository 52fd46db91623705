// Scores: masks are trained as a real number for each maskable weight (paper, section 3.2). The mask keeps the top k of
// |score| within a tensor. The gradient passes that choice unchanged (straight-through estimator).

import type { GraphBuilder, Value } from '../graph/graph.js'
import { add, mul, sub } from '../graph/operators.js'
import type { Combining } from './task.js'

/**
 * The mask of a tensor's scores. In ascending order of |score|, the first ⌊(1−k)·size⌋ entries are 0 and the others 1.
 * Of equal magnitudes, the earlier one is 0 first.
 * @param k fraction of ones
 * @param into receives the mask; it has the length of the scores
 */
export function maskFromScores(scores: Float32Array, k: number, into = new Float32Array(scores.length)): Float32Array {
  const zeros = Math.floor((1 - k) * scores.length)
  if (zeros <= 0) return into.fill(1)
  const magnitudes = new Float32Array(scores.length)
  for (let i = 0; i < magnitudes.length; i++) magnitudes[i] = Math.abs(scores[i] ?? 0)
  const threshold = nthSmallest(magnitudes.slice(), zeros - 1)
  let ties = zeros
  for (let i = 0; i < magnitudes.length; i++) if ((magnitudes[i] ?? 0) < threshold) ties--
  for (let i = 0; i < magnitudes.length; i++) {
    const magnitude = magnitudes[i] ?? 0
    into[i] = magnitude > threshold || (magnitude === threshold && ties-- <= 0) ? 1 : 0
  }
  return into
}

/**
 * Converts the gradient of a mask into that of its scores, in place. It takes d loss/d|score| to be d loss/d mask, so
 * d loss/d score = sign(score) · d loss/d mask.
 */
export function straightThroughGradient(scores: Float32Array, maskGradient: Float32Array): Float32Array {
  for (let i = 0; i < scores.length; i++) maskGradient[i] = Math.sign(scores[i] ?? 0) * (maskGradient[i] ?? 0)
  return maskGradient
}

/**
 * Combines two float32 masks in a graph, so that both have a gradient (paper, section 3.3): OR is 1 − (1 − a)(1 − b),
 * AND is the product, ADD is the sum.
 */
export function combineMasks(g: GraphBuilder, combine: Exclude<Combining, 'none'>, a: Value, b: Value): Value {
  const not = (mask: Value) => sub(g, g.scalar(1), mask)
  switch (combine) {
    case 'or':
      return not(mul(g, not(a), not(b)))
    case 'and':
      return mul(g, a, b)
    case 'add':
      return add(g, a, b)
  }
}

/** The element at index `n` after sorting (Hoare's quickselect). It reorders `values`. */
function nthSmallest(values: Float32Array, n: number): number {
  const at = (index: number) => values[index] ?? Number.NaN
  let low = 0
  let high = values.length - 1
  while (low < high) {
    const pivot = at((low + high) >> 1)
    let i = low
    let j = high
    while (i <= j) {
      while (at(i) < pivot) i++
      while (at(j) > pivot) j--
      if (i > j) break
      const left = at(i)
      values[i++] = at(j)
      values[j--] = left
    }
    if (n <= j) high = j
    else if (n >= i) low = i
    else break
  }
  return at(n)
}
