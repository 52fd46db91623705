// A batch as the engine's thread runs it, and what its failure means: a row is at fault, or the session is.

import type { ServingSession } from '../runtime/session.js'
import { warmUpBatch } from '../runtime/warm-up.js'
import type { RunRequest, ThreadMessage } from './protocol.js'

/**
 * Runs a batch. If it fails, a row that any sound session computes is run: if that is computed, a row of the batch is at
 * fault, and the answer is an error.
 * @param maxTokens tokens of the longest row that the backbone takes
 * @throws Error if the session must not be used any more: it computes nothing, or its bank could not be loaded
 */
export async function runRequest(
  session: Pick<ServingSession, 'load' | 'run'>,
  { id, rows, slots, loads, withHidden }: RunRequest,
  maxTokens: number,
): Promise<ThreadMessage> {
  const start = performance.now()
  // Should it fail, the slots do not hold what the engine takes them to hold.
  await session.load(loads)
  try {
    const { pooled, hidden, recomputed = 0 } = await session.run(rows, slots, withHidden)
    return { kind: 'result', id, pooled, hidden, recomputed, runMs: performance.now() - start }
  } catch (error) {
    await session.run(warmUpBatch(1, Math.min(8, maxTokens)), new Int32Array(1), false)
    return { kind: 'error', id, message: (error as Error).message }
  }
}
