// Why an engine was lost: its causes, and the error that the batches of a lost engine fail with.

import { Problem } from '../problem.js'
import { type Provider, providers } from '../runtime/providers.js'

/**
 * `hung`: the engine returned no batch in time. `out_of_memory`: an allocation failed. `provider_lost`: a device or its
 * driver failed. `failed`: any other error of the thread. A native fault such as SIGSEGV ends the whole process instead.
 */
export const lossCauses = ['hung', 'failed', 'out_of_memory', 'provider_lost'] as const
export type LossCause = (typeof lossCauses)[number]

export interface Loss {
  readonly cause: LossCause
  readonly reason: string
}

export class EngineLost extends Problem {
  constructor(
    readonly loss: Loss,
    /** Whether the engine was running the batch when it was lost. If so, the batch may be the cause. */
    readonly started: boolean,
  ) {
    super('engine_lost', started ? loss.reason : `${loss.reason}; the batch had not started`)
  }
}

const memoryErrors = /out.of.memory|bad_alloc|failed to allocate|cannot allocate/i

/**
 * Finds the cause of the error that ended an engine's thread.
 * @param provider of the session that failed; undefined if the error is not from the session
 */
export function lossOf(error: Error & { readonly code?: string }, provider?: Provider): Loss {
  const failed = `the engine's thread failed: ${error.message}`
  if (error.code === 'ERR_WORKER_OUT_OF_MEMORY' || memoryErrors.test(error.message))
    return { cause: 'out_of_memory', reason: failed }
  return provider !== undefined && providers[provider].isDevice
    ? { cause: 'provider_lost', reason: `provider "${provider}" no longer computes: ${error.message}` }
    : { cause: 'failed', reason: failed }
}
