// What requests cost the server, and how it is bounded: memory, divided into pools, and time of the event loop, divided into
// slices. Opened once, before the server listens.

import {
  divideMemory,
  type LearningMemory,
  type LearningSettings,
  learningMemory,
  type MemoryLimit,
  type MemoryPools,
  type MemorySettings,
  type MemoryShares,
  type MemoryUse,
  memoryLimit,
  poolsOf,
} from './memory.js'
import { SlicedWork } from './sliced-work.js'

export interface Costs {
  /** Of the whole server. */
  readonly memory: MemoryLimit
  /** Processes of the server, which share the memory. */
  readonly processes: number
  /** Of the processes that train tasks. */
  readonly learning: LearningMemory
  /** Of this process. */
  readonly shares: MemoryShares
  readonly pools: MemoryPools
  readonly work: SlicedWork
}

/**
 * @param processes of the server, which share the memory
 * @throws Problem `invalid_setting` if the sizes that the settings allow do not fit into the memory
 */
export function openCosts(settings: MemorySettings & LearningSettings, processes = 1): Costs {
  const memory = memoryLimit(settings.memoryBytes)
  const shares = divideMemory(memory, settings, processes)
  const reserved = processes * Object.values(shares).reduce((a: number, b: number) => a + b, 0)
  const learning = learningMemory(memory, settings, reserved)
  return { memory, processes, learning, shares, pools: poolsOf(shares), work: new SlicedWork() }
}

/** The shares of all processes together. */
export function sharesOfServer({ processes, shares }: Costs): MemoryShares {
  const all: Record<MemoryUse, number> = { ...shares }
  for (const use of Object.keys(all) as MemoryUse[]) all[use] *= processes
  return all
}
