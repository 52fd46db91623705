// A PETL module (paper, section 3): its tensors and what it adds to a layer of an encoder, and the type of a row of
// kinds.ts. adapter.ts, lora.ts and prefix.ts implement it.

import type { Static, TSchema } from 'typebox'
import type { LayerHooks } from '../backbones/layer-hooks.js'
import type { GraphBuilder, Value, ValuesByName } from '../graph/graph.js'
import type { Packing } from '../graph/packing.js'

export interface NamedShape {
  readonly name: string
  readonly shape: readonly number[]
}

export interface ModuleShape extends NamedShape {
  /** Training starts with zeros in this tensor. */
  readonly beginsAtZero?: true
}

export interface PetlModule {
  /** The tensors that masks cover. The bits of a mask follow their order. */
  readonly maskable: readonly ModuleShape[]
  /** The tensors without a mask: biases. */
  readonly unmasked: readonly ModuleShape[]
  /**
   * Adds the module to a layer.
   * @param weights of the layer, by tensor name. If each row of the batch has its own, a maskable one is [B, …shape], and
   *   an unmasked one [B,1,size]. Rows without the module have zeros.
   * @param hasModule float32 [B,1,1]: 0 for rows without the module, otherwise 1. Absent: all rows have it.
   */
  layer(g: GraphBuilder, weights: ValuesByName, packing: Packing, hasModule?: Value): LayerHooks
}

/** Settings with some of them missing. */
export type GivenSettings<T> = { readonly [P in keyof T]?: T[P] | undefined }

/** An option of `propetl train` for a setting of a module. */
export interface ModuleOption {
  /** As in the help: `--rank <size>`. */
  readonly flags: string
  readonly meaning: string
  /** What it takes: a whole number from 1, a positive number, or one of some names. */
  readonly value: 'size' | 'positive' | readonly string[]
}

/** A kind of module: how its settings are given, stored, completed and built. */
export interface PetlKind<S extends TSchema = TSchema> {
  /** The settings, as JSON in the prototype file. */
  readonly schema: S
  /** The schema in words, for errors. */
  readonly expected: string
  /** The options for its settings. */
  readonly options: { readonly [P in keyof Static<S>]?: ModuleOption }
  /** Default learning rate of its weights. */
  readonly weightRate: number
  /** Adds the defaults of the settings that are not given. */
  complete(given: GivenSettings<Static<S>>): Static<S>
  /** @param hiddenSize of the backbone */
  build(settings: Static<S>, hiddenSize: number): PetlModule
}

export const elementCount = (shape: readonly number[]): number => shape.reduce((product, dim) => product * dim, 1)

/** All tensors of a module, the maskable ones first. */
export const moduleTensors = ({ maskable, unmasked }: PetlModule): readonly ModuleShape[] => [...maskable, ...unmasked]

/** Number of weights in some tensors. For the maskable tensors of a module it is n. */
export const weightCount = (tensors: readonly NamedShape[]): number =>
  tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0)

/** The bits of a maskable tensor within a mask. */
export function maskRange({ maskable }: PetlModule, tensor: string): { readonly first: number; readonly size: number } {
  let first = 0
  for (const { name, shape } of maskable) {
    const size = elementCount(shape)
    if (name === tensor) return { first, size }
    first += size
  }
  throw new Error(`the module has no maskable tensor "${tensor}"`)
}
