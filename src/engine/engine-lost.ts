// The loss of an engine, by its cause.

import { Problem } from '../problem.js'
import type { Provider } from '../runtime/execution-providers.js'

/**
 * `hung`: it returned no batch in time. `out_of_memory`: memory could not be allocated. `provider_lost`: a device or its
 * driver failed. `failed`: any other error of the thread. A native fault such as SIGSEGV ends the process instead.
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
    /** Whether the engine was running the batch when it was lost, and so the batch may be the reason. */
    readonly begun: boolean,
  ) {
    super('engine_lost', begun ? loss.reason : `${loss.reason}; the batch had not begun`)
  }
}

const memoryErrors = /out.of.memory|bad_alloc|failed to allocate|cannot allocate/i

/**
 * What an error means that ended an engine's thread.
 * @param provider of the session that computes nothing any more; undefined if the error is not the session's
 */
export function lossOf(error: Error & { readonly code?: string }, provider?: Provider): Loss {
  const failed = `the engine's thread failed: ${error.message}`
  if (error.code === 'ERR_WORKER_OUT_OF_MEMORY' || memoryErrors.test(error.message))
    return { cause: 'out_of_memory', reason: failed }
  return provider === undefined || provider === 'cpu'
    ? { cause: 'failed', reason: failed }
    : { cause: 'provider_lost', reason: `provider "${provider}" computes nothing any more: ${error.message}` }
}
