// What requests cost the server, and how it is bounded: memory, divided into pools, and time of the event loop, divided into
// slices. Opened once, before the server listens.

import {
  divideMemory,
  type MemoryLimit,
  type MemoryPools,
  type MemorySettings,
  type MemoryShares,
  memoryLimit,
  poolsOf,
} from './memory.js'
import { SlicedWork } from './sliced-work.js'

export interface Costs {
  readonly memory: MemoryLimit
  readonly shares: MemoryShares
  readonly pools: MemoryPools
  readonly work: SlicedWork
}

/** @throws Problem `invalid_setting` if the sizes that the settings allow do not fit into the memory */
export function openCosts(settings: MemorySettings): Costs {
  const memory = memoryLimit(settings.memoryBytes)
  const shares = divideMemory(memory, settings)
  return { memory, shares, pools: poolsOf(shares), work: new SlicedWork() }
}
