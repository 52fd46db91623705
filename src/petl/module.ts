// What a module of the paper (section 3) says of itself, and what it may do to a layer of an encoder. An encoder knows
// these places and no module. adapter.ts, lora.ts and prefix.ts are the modules; modules.ts lists them.

import type { LayerHooks } from '../backbones/layer-hooks.js'
import type { GraphBuilder, ValuesByName } from '../graph/graph.js'
import type { Packing } from '../graph/packing.js'

/** What a prototype can be. */
export const moduleKinds = ['adapter', 'lora', 'prefix'] as const
export type ModuleKind = (typeof moduleKinds)[number]

export interface NamedShape {
  readonly name: string
  readonly shape: readonly number[]
}

export interface ModuleShape extends NamedShape {
  /** Learning begins with zeros there. */
  readonly beginsAtZero?: true
}

export interface PetlModule {
  /** The tensors that masks cover, in the order in which mask bits count through them. */
  readonly maskable: readonly ModuleShape[]
  /** Those that no mask touches: biases. */
  readonly unmasked: readonly ModuleShape[]
  /**
   * What the module does to a layer.
   * @param weights the layer's, by the names of the tensors; a maskable one may be [B, …shape]: each row has its own
   */
  layer(g: GraphBuilder, weights: ValuesByName, packing: Packing): LayerHooks
}

export const elementCount = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1)

/** All of a module's tensors: those that masks cover, and then the others. */
export const moduleTensors = ({ maskable, unmasked }: PetlModule): readonly ModuleShape[] => [...maskable, ...unmasked]

/** How many weights some tensors have; of a module's maskable ones it is n. */
export const weightCount = (tensors: readonly NamedShape[]): number =>
  tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0)

/** Where the bits of a maskable tensor lie in a mask. */
export function maskRange({ maskable }: PetlModule, tensor: string): { readonly first: number; readonly size: number } {
  let first = 0
  for (const { name, shape } of maskable) {
    const size = elementCount(shape)
    if (name === tensor) return { first, size }
    first += size
  }
  throw new Error(`the module has no maskable tensor "${tensor}"`)
}
