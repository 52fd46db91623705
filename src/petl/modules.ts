// The modules that a prototype can be. A further one is a file beside adapter.ts, an entry here, and the reading of its
// config in prototype-file.ts.

import { type AdapterConfig, adapter } from './adapter.js'
import { type LoraConfig, lora } from './lora.js'
import type { PetlModule } from './module.js'
import { type PrefixConfig, prefix } from './prefix.js'

/** What a prototype is made of; prototype files name the kind and keep the rest. */
export type ModuleConfig = AdapterConfig | LoraConfig | PrefixConfig

/** The module of a backbone whose hidden states have `hiddenSize` values. */
export function petlModule(config: ModuleConfig, hiddenSize: number): PetlModule {
  switch (config.kind) {
    case 'adapter':
      return adapter(config, hiddenSize)
    case 'lora':
      return lora(config, hiddenSize)
    case 'prefix':
      return prefix(config, hiddenSize)
  }
}
