// What a server spends on requests: its memory, divided, and its event loop's time, in slices. Made once, before it listens.

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

/** @throws Problem `invalid_setting` if what the settings allow does not fit into the memory */
export function openCosts(settings: MemorySettings): Costs {
  const memory = memoryLimit(settings.memoryBytes)
  const shares = divideMemory(memory, settings)
  return { memory, shares, pools: poolsOf(shares), work: new SlicedWork() }
}
