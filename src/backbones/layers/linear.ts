// A dense layer with the weights of a checkpoint.

import type { Value } from '../../graph/graph.js'
import { gemm, linear } from '../../graph/operators.js'
import type { Part, Weights } from '../weights.js'

/** A dense layer that differs from the usual: one without a bias, or one of several in the same tensors. */
export interface DenseLayer {
  readonly name: string
  /** Default: true. */
  readonly bias?: boolean
  /** Its part of the tensors. Absent: they contain only this layer. */
  readonly part?: Part
}

/** The tensors of a dense layer are `<name>.weight` and, if it has a bias, `<name>.bias`. */
export type DenseName = string | DenseLayer

/**
 * x · weightᵀ + bias.
 * @param x packed [T,I]
 * @returns packed [T,outputs]
 */
export function linearLayer(weights: Weights, layer: DenseName, x: Value, outputs: number): Value {
  const { name, bias = true, part }: DenseLayer = typeof layer === 'string' ? { name: layer } : layer
  const inputs = x.shape[1] as number
  const weight = weights.float(`${name}.weight`, [outputs, inputs], part)
  if (!bias) return gemm(weights.graph, x, weight, { transB: 1 })
  return linear(weights.graph, x, weight, weights.float(`${name}.bias`, [outputs], part))
}
