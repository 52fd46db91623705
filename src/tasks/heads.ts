// The head of a task, on the host: pooled vector → logits → scores of labels. Thus tasks with different numbers of labels
// share a batch. A head can be wide and have many labels, so the work is done in steps (steps.ts).

import { type DenseLayer, type Head, type Linear, type Thresholds, thresholdOf } from '../petl/task.js'
import { finish, type Steps } from '../steps.js'

export interface LabelScore {
  readonly label: string
  readonly score: number
}

export interface Classification extends LabelScore {
  readonly scores: readonly LabelScore[]
}

export interface ScoreOptions {
  /** Number of labels to return, best first. If undefined: all labels, in the order of the task. */
  readonly topK?: number | undefined
  /** Whether scores are logits instead of probabilities. */
  readonly rawScores: boolean
}

/** Multiply-adds or labels between two pauses: a fraction of a millisecond of work. */
const multiplyAddsAtOnce = 200_000
const labelsAtOnce = 2_000

/** Multiply-adds of a head for one vector. */
export const multiplyAddsOf = ({ dense, output }: Head): number =>
  output.inputs * output.outputs + (dense ? dense.inputs * dense.outputs : 0)

/** Logits [C] of a head for a vector [H], in float64: finite weights give finite logits. */
export function* logitsInSteps(head: Head, vector: Float32Array): Steps<Float64Array> {
  if (head.dense === undefined) return yield* linear(head.output, vector)
  return yield* linear(head.output, yield* denseInSteps(head.dense, vector))
}

/** A layer with its activation. */
export function* denseInSteps(layer: DenseLayer, vector: Float32Array): Steps<Float64Array> {
  return (yield* linear(layer, vector)).map(headActivations[layer.activation])
}

/** {@link logitsInSteps} without pauses. */
export const logitsOf = (head: Head, vector: Float32Array): Float64Array => finish(logitsInSteps(head, vector))

/**
 * Single-label classification: the probabilities are a softmax. With thresholds the best label is the one whose
 * probability is largest relative to its threshold.
 */
export function* classify(
  labels: readonly string[],
  logits: Float64Array,
  options: ScoreOptions,
  thresholds?: Float32Array,
): Steps<Classification> {
  const scores = options.rawScores ? logits : yield* softmax(logits)
  const order = thresholds && (yield* mapped(logits, (logit, c) => logit - Math.log(thresholds[c] ?? 1)))
  return yield* rank(labels, scores, options.topK, order)
}

/** Multi-label classification: each probability is a sigmoid. */
export function* classifyEach(
  labels: readonly string[],
  logits: Float64Array,
  options: ScoreOptions,
): Steps<Classification> {
  return yield* rank(labels, options.rawScores ? logits : yield* sigmoids(logits), options.topK)
}

/** The labels whose probability reaches their threshold, best first. */
export function* labelsReaching(
  thresholds: Thresholds,
  labels: readonly string[],
  logits: Float64Array,
): Steps<readonly string[]> {
  const probabilities = yield* sigmoids(logits)
  // Ordered by logits: they still differ where probabilities round to 1. Labels that do not apply are last.
  let reaching = 0
  const order = yield* mapped(logits, (logit, c) => {
    if ((probabilities[c] ?? 0) < thresholdOf(thresholds, c)) return Number.NEGATIVE_INFINITY
    reaching++
    return logit
  })
  const best = yield* bestOf(order, reaching)
  return Array.from(best, (c) => labels[c] ?? '')
}

/** @param order by which labels are best; by default their scores */
function* rank(
  labels: readonly string[],
  scores: Float64Array,
  topK: number | undefined,
  order = scores,
): Steps<Classification> {
  const scored = (c: number): LabelScore => ({ label: labels[c] ?? '', score: scores[c] ?? Number.NaN })
  const chosen = topK === undefined ? undefined : yield* bestOf(order, topK)
  const best = scored(chosen?.[0] ?? firstOfLargest(order))
  const count = chosen?.length ?? scores.length
  const all: LabelScore[] = []
  for (let at = 0; at < count; at++) {
    all.push(scored(chosen?.[at] ?? at))
    if (at % labelsAtOnce === labelsAtOnce - 1) yield
  }
  return { ...best, scores: all }
}

export function firstOfLargest(scores: Float64Array): number {
  let best = 0
  for (let c = 1; c < scores.length; c++) if ((scores[c] ?? 0) > (scores[best] ?? 0)) best = c
  return best
}

/**
 * Indices of the k largest scores, largest first; equal scores keep their order. It keeps the best so far in a heap whose
 * root is the smallest of them: O(C log k).
 */
function* bestOf(scores: Float64Array, k: number): Steps<Uint32Array> {
  const size = Math.min(k, scores.length)
  const heap = new Uint32Array(size)
  const isBefore = (a: number, b: number) => {
    const [x, y] = [scores[a] ?? Number.NaN, scores[b] ?? Number.NaN]
    return x > y || (x === y && a < b)
  }
  /** Sifts an index down within the first `end` places, from the place `from`. */
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
  // Heapsort: the root, which is the smallest, moves to the end.
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
  const outputsAtOnce = Math.max(1, Math.floor(multiplyAddsAtOnce / map.inputs))
  for (let first = 0; first < map.outputs; first += outputsAtOnce) {
    if (first > 0) yield
    multiply(map, x, y, first, Math.min(first + outputsAtOnce, map.outputs))
  }
  return y
}

/**
 * y[o] = weight[o] · x + bias[o] for the outputs from `first` to `end`, exclusive. Four sums at a time: a single one waits for
 * each addition to finish before the next.
 */
function multiply(
  { inputs, weight, bias }: Linear,
  x: Float32Array | Float64Array,
  y: Float64Array,
  first: number,
  end: number,
): void {
  let o = first
  for (; o + 4 <= end; o += 4) {
    let [a, b, c, d] = [bias[o] ?? 0, bias[o + 1] ?? 0, bias[o + 2] ?? 0, bias[o + 3] ?? 0]
    const offset = o * inputs
    for (let i = 0; i < inputs; i++) {
      const value = x[i] ?? 0
      const at = offset + i
      a += (weight[at] ?? 0) * value
      b += (weight[at + inputs] ?? 0) * value
      c += (weight[at + 2 * inputs] ?? 0) * value
      d += (weight[at + 3 * inputs] ?? 0) * value
    }
    y[o] = a
    y[o + 1] = b
    y[o + 2] = c
    y[o + 3] = d
  }
  for (; o < end; o++) {
    let sum = bias[o] ?? 0
    const offset = o * inputs
    for (let i = 0; i < inputs; i++) sum += (weight[offset + i] ?? 0) * (x[i] ?? 0)
    y[o] = sum
  }
}

const headActivations = {
  tanh: Math.tanh,
  relu: (x: number) => Math.max(0, x),
  none: (x: number) => x,
} as const

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

export function* softmax(logits: Float64Array): Steps<Float64Array> {
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

export const sigmoids = (logits: Float64Array): Steps<Float64Array> => mapped(logits, sigmoid)

export function* mapped(values: Float64Array, to: (value: number, at: number) => number): Steps<Float64Array> {
  const result = new Float64Array(values.length)
  for (let c = 0; c < values.length; c++) {
    result[c] = to(values[c] ?? 0, c)
    if (c % labelsAtOnce === labelsAtOnce - 1) yield
  }
  return result
}
