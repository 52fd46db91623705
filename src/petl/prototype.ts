// A prototype as a value: the shared module, whose weights are masked for every layer and every task. prototype-file.ts
// reads and writes the file.

import type { ModuleConfig } from './kinds.js'

export interface Prototype {
  /** SHA-256 of the file. Task files contain it. */
  readonly digest: string
  /** SHA-256 of the weights of the backbone that it was trained on. */
  readonly backbone: string
  readonly module: ModuleConfig
  readonly layers: number
  readonly hiddenSize: number
  /** n, the number of weights that a mask covers. */
  readonly maskableWeights: number
  /** Bytes of one mask layer: ⌈n/8⌉. */
  readonly maskBytes: number
  /** Values of all tensors of the module, by name. */
  readonly tensors: ReadonlyMap<string, Float32Array>
  /** [layers, ⌈n/8⌉] bytes. Absent: tasks cannot combine their masks with layer masks. */
  readonly layerMasks?: Uint8Array
  /** Ids of the tasks that it was trained on, if the file names them. */
  readonly learnedOn?: readonly string[]
}

/** The values of a tensor that prototypes of this kind have. */
export function prototypeTensor(prototype: Prototype, name: string): Float32Array {
  const values = prototype.tensors.get(name)
  if (values === undefined) throw new Error(`a ${prototype.module.kind} prototype has no tensor "${name}"`)
  return values
}
