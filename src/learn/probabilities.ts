// Probabilities from outputs, and outputs from probabilities.

import type { Values } from './evaluated-examples.js'

/** The probability that a label applies. */
export const sigmoid = (output: number): number => 1 / (1 + Math.exp(-output))

/** The output of a probability: the inverse of {@link sigmoid}. */
export const logOdds = (probability: number): number => Math.log(probability / (1 - probability))

/** The softmax of an output; NaN for −1. */
export function softmaxAt(outputs: Values, label: number): number {
  const output = outputs[label] ?? Number.NaN
  let sum = 0
  for (const other of outputs) sum += Math.exp(other - output)
  return 1 / sum
}
