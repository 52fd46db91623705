// A task's head on the host: pooled vector → logits → scores of labels. So tasks of any number of labels share a batch.
// A head may be wide and its labels many: the work is done in steps (steps.ts).

import type { Head, Linear } from '../petl/task.js'
import { finish, type Steps } from '../steps.js'

export interface LabelScore {
  readonly label: string
  readonly score: number
}

export interface Classification extends LabelScore {
  readonly scores: readonly LabelScore[]
}

export interface ScoreOptions {
  /** Only the best so many, best first; otherwise all, in the order of the task's labels. */
  readonly topK?: number | undefined
  /** The head's own outputs in place of probabilities. */
  readonly rawScores: boolean
}

/** Multiply-adds, and labels, between two pauses: a fraction of a millisecond of work. */
const multiplyAddsAtOnce = 200_000
const labelsAtOnce = 2_000

/** Multiply-adds of a head for one vector. */
export const multiplyAddsOf = ({ dense, output }: Head): number =>
  output.inputs * output.outputs + (dense ? dense.inputs * dense.outputs : 0)

/** Head outputs [C] for a vector [H], in float64: finite weights give finite logits. */
export function* logitsInSteps(head: Head, vector: Float32Array): Steps<Float64Array> {
  if (head.dense === undefined) return yield* linear(head.output, vector)
  const activate = headActivations[head.dense.activation]
  return yield* linear(head.output, (yield* linear(head.dense, vector)).map(activate))
}

/** The same without a pause. */
export const logitsOf = (head: Head, vector: Float32Array): Float64Array => finish(logitsInSteps(head, vector))

/** Exactly one of the labels applies: probabilities are a softmax. */
export function* classify(
  labels: readonly string[],
  logits: Float64Array,
  options: ScoreOptions,
): Steps<Classification> {
  return yield* rank(labels, options.rawScores ? logits : yield* softmax(logits), options.topK)
}

/** Any of the labels may apply: probabilities are a sigmoid each. */
export function* classifyEach(
  labels: readonly string[],
  logits: Float64Array,
  options: ScoreOptions,
): Steps<Classification> {
  return yield* rank(labels, options.rawScores ? logits : yield* sigmoids(logits), options.topK)
}

/** The labels whose probability reaches the threshold, best first. */
export function* labelsReaching(
  threshold: number,
  labels: readonly string[],
  logits: Float64Array,
): Steps<readonly string[]> {
  const probabilities = yield* sigmoids(logits)
  const reaching = probabilities.reduce((count, probability) => count + (probability >= threshold ? 1 : 0), 0)
  yield
  // By their logits: where probabilities round to 1, these still differ.
  const best = yield* bestOf(logits, reaching)
  return Array.from(best, (c) => labels[c] ?? '')
}

function* rank(labels: readonly string[], scores: Float64Array, topK: number | undefined): Steps<Classification> {
  const scored = (c: number): LabelScore => ({ label: labels[c] ?? '', score: scores[c] ?? Number.NaN })
  const chosen = topK === undefined ? undefined : yield* bestOf(scores, topK)
  const best = scored(chosen?.[0] ?? firstOfLargest(scores))
  const count = chosen?.length ?? scores.length
  const all: LabelScore[] = []
  for (let at = 0; at < count; at++) {
    all.push(scored(chosen?.[at] ?? at))
    if (at % labelsAtOnce === labelsAtOnce - 1) yield
  }
  return { ...best, scores: all }
}

function firstOfLargest(scores: Float64Array): number {
  let best = 0
  for (let c = 1; c < scores.length; c++) if ((scores[c] ?? 0) > (scores[best] ?? 0)) best = c
  return best
}

/**
 * Indices of the largest scores, largest first; of equal ones the first comes first. A heap of the best so far, whose root
 * is the least of them: O(C log k).
 */
function* bestOf(scores: Float64Array, k: number): Steps<Uint32Array> {
  const size = Math.min(k, scores.length)
  const heap = new Uint32Array(size)
  const isBefore = (a: number, b: number) => {
    const [x, y] = [scores[a] ?? Number.NaN, scores[b] ?? Number.NaN]
    return x > y || (x === y && a < b)
  }
  /** Puts an index where it belongs in the first `end` places, beginning at the root. */
  const sink = (index: number, end: number, from = 0) => {
    let at = from
    for (let child = 2 * at + 1; child < end; child = 2 * at + 1) {
      if (child + 1 < end && isBefore(heap[child] ?? 0, heap[child + 1] ?? 0)) child++
      if (!isBefore(index, heap[child] ?? 0)) break
      heap[at] = heap[child] ?? 0
      at = child
    }
    heap[at] = index
  }
  for (let at = 0; at < size; at++) heap[at] = at
  for (let at = (size >> 1) - 1; at >= 0; at--) {
    sink(heap[at] ?? 0, size, at)
    if (at % labelsAtOnce === 0) yield
  }
  for (let at = size; at < scores.length; at++) {
    if (size > 0 && isBefore(at, heap[0] ?? 0)) sink(at, size)
    if (at % labelsAtOnce === 0) yield
  }
  // The root, the least, goes to the end, again and again.
  for (let end = size - 1; end > 0; end--) {
    const last = heap[end] ?? 0
    heap[end] = heap[0] ?? 0
    sink(last, end)
    if (end % labelsAtOnce === 0) yield
  }
  return heap
}

function* linear(map: Linear, x: Float32Array | Float64Array): Steps<Float64Array> {
  const y = new Float64Array(map.outputs)
  const rows = Math.max(1, Math.floor(multiplyAddsAtOnce / map.inputs))
  for (let first = 0; first < map.outputs; first += rows) {
    if (first > 0) yield
    multiply(map, x, y, first, Math.min(first + rows, map.outputs))
  }
  return y
}

/** y[o] = weight[o] · x + bias[o], for the outputs from `first` up to `end`. */
function multiply(
  { inputs, weight, bias }: Linear,
  x: Float32Array | Float64Array,
  y: Float64Array,
  first: number,
  end: number,
): void {
  for (let o = first; o < end; o++) {
    let sum = bias[o] ?? 0
    const row = o * inputs
    for (let i = 0; i < inputs; i++) sum += (weight[row + i] ?? 0) * (x[i] ?? 0)
    y[o] = sum
  }
}

const headActivations = {
  tanh: Math.tanh,
  relu: (x: number) => Math.max(0, x),
  none: (x: number) => x,
} as const

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

function* softmax(logits: Float64Array): Steps<Float64Array> {
  let highest = Number.NEGATIVE_INFINITY
  for (let c = 0; c < logits.length; c++) {
    highest = Math.max(highest, logits[c] ?? 0)
    if (c % labelsAtOnce === labelsAtOnce - 1) yield
  }
  const powers = yield* mapped(logits, (x) => Math.exp(x - highest))
  let sum = 0
  for (let c = 0; c < powers.length; c++) sum += powers[c] ?? 0
  return yield* mapped(powers, (power) => power / sum)
}

const sigmoids = (logits: Float64Array): Steps<Float64Array> => mapped(logits, sigmoid)

function* mapped(values: Float64Array, to: (value: number) => number): Steps<Float64Array> {
  const result = new Float64Array(values.length)
  for (let c = 0; c < values.length; c++) {
    result[c] = to(values[c] ?? 0)
    if (c % labelsAtOnce === labelsAtOnce - 1) yield
  }
  return result
}
