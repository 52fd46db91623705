// Scores, what a mask is learned as (paper, section 3.2): a real number for each maskable weight. The mask keeps the
// top k of |score| within a tensor; the gradient passes through that choice as if it were not there.

import type { GraphBuilder, Value } from '../graph/graph.js'
import { add, mul, sub } from '../graph/operators.js'
import type { Combining } from './task.js'

/**
 * The mask of a tensor's scores: 1 for the top fraction `k` of |score|, 0 for the first ⌊(1−k)·size⌋ in ascending
 * order; of equal scores the earlier one goes first.
 * @param into where the mask is written, of the scores' length
 */
export function maskFromScores(scores: Float32Array, k: number, into = new Float32Array(scores.length)): Float32Array {
  const zeros = Math.floor((1 - k) * scores.length)
  if (zeros <= 0) return into.fill(1)
  const sizes = new Float32Array(scores.length)
  for (let i = 0; i < sizes.length; i++) sizes[i] = Math.abs(scores[i] ?? 0)
  const threshold = nthSmallest(sizes.slice(), zeros - 1)
  let ties = zeros
  for (let i = 0; i < sizes.length; i++) if ((sizes[i] ?? 0) < threshold) ties--
  for (let i = 0; i < sizes.length; i++) {
    const size = sizes[i] ?? 0
    into[i] = size > threshold || (size === threshold && ties-- <= 0) ? 1 : 0
  }
  return into
}

/**
 * The gradient of scores from that of their mask, in place: d loss/d|score| is taken to be d loss/d mask, so that
 * d loss/d score = sign(score) · d loss/d mask.
 */
export function straightThroughGradient(scores: Float32Array, maskGradient: Float32Array): Float32Array {
  for (let i = 0; i < scores.length; i++) maskGradient[i] = Math.sign(scores[i] ?? 0) * (maskGradient[i] ?? 0)
  return maskGradient
}

/**
 * Two float32 masks combined inside a graph, so that the gradient reaches both (paper, section 3.3): OR is
 * 1 − (1 − a)(1 − b), AND the product, ADD the sum.
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

/** The element that sorting would bring to place `n` (Hoare's FIND); `values` are reordered. */
function nthSmallest(values: Float32Array, n: number): number {
  const at = (place: number) => values[place] ?? Number.NaN
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
