// The prototype as a value: the one shared module whose weights every layer and every task masks.
// prototype-file.ts reads and writes it.

import type { ModuleConfig } from './kinds.js'

export interface Prototype {
  /** SHA-256 of the file: task files name it. */
  readonly digest: string
  /** SHA-256 of the backbone's weights that it was learned on. */
  readonly backbone: string
  readonly module: ModuleConfig
  readonly layers: number
  readonly hiddenSize: number
  /** n: how many weights a mask covers. */
  readonly maskableWeights: number
  /** Bytes of one mask: ⌈n/8⌉. */
  readonly maskBytes: number
  /** float32 values, maskable tensors and the others, by name. */
  readonly tensors: ReadonlyMap<string, Float32Array>
  /** Layer masks, [layers, ⌈n/8⌉] bytes; absent if tasks do not combine with any. */
  readonly layerMasks?: Uint8Array
  /** Ids of the tasks that it was learned on, if the file says so. */
  readonly learnedOn?: readonly string[]
}

/** The tensor of a prototype that its kind guarantees. */
export function prototypeTensor(prototype: Prototype, name: string): Float32Array {
  const values = prototype.tensors.get(name)
  if (values === undefined) throw new Error(`a ${prototype.module.kind} prototype has no tensor "${name}"`)
  return values
}
