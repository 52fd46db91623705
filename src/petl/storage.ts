// Bit-level storage (paper, section 4.1): a weight takes 32 bits, an entry of a mask takes 1. Heads are not counted.

import { petlModule } from './kinds.js'
import { moduleTensors, weightCount } from './module.js'
import type { Prototype } from './prototype.js'

const floatBits = 32

/** Bits that all tasks share: the prototype's weights and its layer masks. */
export function prototypeBits(prototype: Prototype): { readonly weights: number; readonly layerMasks: number } {
  return {
    weights: floatBits * moduleWeights(prototype),
    layerMasks: prototype.layerMasks === undefined ? 0 : prototype.layers * prototype.maskableWeights,
  }
}

/** Bits that a task adds: n for each layer of its mask. */
export const taskBits = (prototype: Prototype, maskLayers: number): number => maskLayers * prototype.maskableWeights

/** Bits of a task in the conventional way: a module of the same shape with its own weights in every layer. */
export const plainModuleBits = (prototype: Prototype): number => floatBits * prototype.layers * moduleWeights(prototype)

const moduleWeights = ({ module, hiddenSize }: Prototype): number =>
  weightCount(moduleTensors(petlModule(module, hiddenSize)))
