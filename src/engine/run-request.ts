// Runs a batch in the engine's thread. If it fails, this finds out whether a row is at fault or the session.

import type { ServingSession } from '../runtime/session.js'
import { warmUpBatch } from '../runtime/warm-up.js'
import type { RunRequest, ThreadMessage } from './protocol.js'

/**
 * Runs a batch. If it fails, a simple row is run that every working session can compute. If that succeeds, a row of the batch
 * is at fault, and the returned message is an error.
 * @param maxTokens tokens of the longest row that the backbone takes
 * @throws Error if the session must not be used again: it no longer computes, or its bank could not be loaded
 */
export async function runRequest(
  session: Pick<ServingSession, 'load' | 'run'>,
  { id, rows, slots, loads, withHidden }: RunRequest,
  maxTokens: number,
): Promise<ThreadMessage> {
  const start = performance.now()
  // If this fails, the contents of the slots differ from the engine's slot table.
  await session.load(loads)
  try {
    const { pooled, hidden, recomputed = 0 } = await session.run(rows, slots, withHidden)
    return { kind: 'result', id, pooled, hidden, recomputed, runMs: performance.now() - start }
  } catch (error) {
    await session.run(warmUpBatch(1, Math.min(8, maxTokens)), new Int32Array(1), false)
    return { kind: 'error', id, message: (error as Error).message }
  }
}
