// A task's head on the host: pooled vector → logits → scores of labels. So tasks of any label count share a batch.

import type { Head, Linear } from '../formats/task-file.js'

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

/** Head outputs [C] for a vector [H], in float64: finite weights give finite logits. */
export function logitsOf(head: Head, vector: Float32Array): Float64Array {
  if (head.dense === undefined) return linear(head.output, vector)
  const activate = activations[head.dense.activation]
  return linear(head.output, linear(head.dense, vector).map(activate))
}

/** One of the labels applies: probabilities are a softmax. */
export const classify = (labels: readonly string[], logits: Float64Array, options: ScoreOptions): Classification =>
  rank(labels, options.rawScores ? logits : softmax(logits), options.topK)

/** Any of the labels may apply: probabilities are a sigmoid each. */
export const classifyEach = (labels: readonly string[], logits: Float64Array, options: ScoreOptions): Classification =>
  rank(labels, options.rawScores ? logits : logits.map(sigmoid), options.topK)

/** The labels whose probability reaches the threshold, best first. */
export const labelsReaching = (threshold: number, labels: readonly string[], logits: Float64Array): readonly string[] =>
  labels
    .map((label, c) => ({ label, logit: logits[c] ?? Number.NaN }))
    .filter(({ logit }) => sigmoid(logit) >= threshold)
    .sort((a, b) => b.logit - a.logit)
    .map(({ label }) => label)

function rank(labels: readonly string[], scores: Float64Array, topK: number | undefined): Classification {
  const all = labels.map((label, c): LabelScore => ({ label, score: scores[c] ?? Number.NaN }))
  const best = all.reduce((a, b) => (b.score > a.score ? b : a))
  if (topK === undefined) return { ...best, scores: all }
  return { ...best, scores: all.toSorted((a, b) => b.score - a.score).slice(0, topK) }
}

function linear({ inputs, outputs, weight, bias }: Linear, x: Float32Array | Float64Array): Float64Array {
  const y = new Float64Array(outputs)
  for (let o = 0; o < outputs; o++) {
    let sum = bias[o] ?? 0
    const row = o * inputs
    for (let i = 0; i < inputs; i++) sum += (weight[row + i] ?? 0) * (x[i] ?? 0)
    y[o] = sum
  }
  return y
}

const activations = {
  tanh: Math.tanh,
  relu: (x: number) => Math.max(0, x),
  none: (x: number) => x,
} as const

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x))

function softmax(logits: Float64Array): Float64Array {
  const highest = logits.reduce((a, b) => Math.max(a, b))
  const powers = logits.map((x) => Math.exp(x - highest))
  const sum = powers.reduce((a, b) => a + b)
  return powers.map((power) => power / sum)
}
