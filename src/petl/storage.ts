// Bit-level storage (paper, section 4.1): a float weight counts 32 bits, a mask entry 1. Heads are not counted.

import { petlModule } from './kinds.js'
import { moduleTensors, weightCount } from './module.js'
import type { Prototype } from './prototype.js'

const floatBits = 32

/** Bits of the shared part: the prototype's weights, and its layer masks if it has any. */
export function prototypeBits(prototype: Prototype): { readonly weights: number; readonly layerMasks: number } {
  return {
    weights: floatBits * moduleWeights(prototype),
    layerMasks: prototype.layerMasks === undefined ? 0 : prototype.layers * prototype.maskableWeights,
  }
}

/** Bits that a task adds: n for each row of its mask. */
export const taskBits = (prototype: Prototype, maskLayers: number): number => maskLayers * prototype.maskableWeights

/** Bits of the conventional counterpart: a module of the same shape with weights of its own in every layer, per task. */
export const plainModuleBits = (prototype: Prototype): number => floatBits * prototype.layers * moduleWeights(prototype)

const moduleWeights = ({ module, hiddenSize }: Prototype): number =>
  weightCount(moduleTensors(petlModule(module, hiddenSize)))
