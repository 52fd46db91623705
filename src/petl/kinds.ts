// The kinds of PETL modules that a prototype can be. A new kind is a file next to adapter.ts and a row of this table.

import type { Static } from 'typebox'
import { adapter } from './adapter.js'
import { lora } from './lora.js'
import type { GivenSettings, PetlModule } from './module.js'
import { prefix } from './prefix.js'

export const petlKinds = { adapter, lora, prefix }

export type ModuleKind = keyof typeof petlKinds
export const moduleKinds = Object.keys(petlKinds) as readonly ModuleKind[]

type Settings = { readonly [K in ModuleKind]: Readonly<Static<(typeof petlKinds)[K]['schema']>> }

/** A kind of module with its settings. */
export type ModuleConfig<K extends ModuleKind = ModuleKind> = {
  [P in K]: { readonly kind: P } & Settings[P]
}[K]

/** The module of a backbone whose hidden states have `hiddenSize` values. */
export function petlModule<K extends ModuleKind>(config: ModuleConfig<K>, hiddenSize: number): PetlModule {
  const builders: { readonly [P in ModuleKind]: { build(config: ModuleConfig<P>, hiddenSize: number): PetlModule } } =
    petlKinds
  return builders[config.kind].build(config, hiddenSize)
}

type Given = { readonly [K in ModuleKind]: GivenSettings<Settings[K]> }[ModuleKind]

/** A config with the kind's defaults for settings that are absent or undefined. Settings of other kinds are ignored. */
export function completeConfig(kind: ModuleKind, given: Given): ModuleConfig {
  const row: { complete(given: Given): object } = petlKinds[kind]
  return { kind, ...row.complete(given) } as ModuleConfig
}
