// How many processes serve HTTP.

import { availableParallelism } from 'node:os'
import type { Config } from '../config.js'
import { type Provider, providers } from '../runtime/providers.js'

/** A machine with fewer cores has one process. */
const coresForSeveral = 8
/** Share of the cores that serve HTTP beside a device. */
const deviceShare = 0.4

/** @returns 1 if one process does everything */
export function workerCountOf({ httpWorkers, provider }: Pick<Config, 'httpWorkers' | 'provider'>): number {
  if (httpWorkers !== 'auto') return httpWorkers
  const cores = availableParallelism()
  return cores >= coresForSeveral && hasDevice(provider) ? Math.ceil(deviceShare * cores) : 1
}

/** Whether a device will compute. One that must beat the CPU first does not count. */
function hasDevice(provider: Config['provider']): boolean {
  if (provider !== 'auto') return providers[provider as Provider].isDevice
  return Object.values(providers).some(
    ({ isDevice, mustBeatCpu, missing }) => isDevice && !mustBeatCpu && missing() === undefined,
  )
}
