// Finds the outcome of a change whose response was lost. It asks on a new connection, until the outcome is known or a
// timeout has passed.

import { setTimeout as delay } from 'node:timers/promises'
import { reasonOf } from '../problem.js'
import { Database } from './database.js'
import type { UnknownOutcome } from './database-errors.js'
import type { Position } from './mirror-file.js'

/** The timeout, the most of it that one attempt counts for, and the delays between attempts, in milliseconds. */
const patienceMs = 10_000
const tryMs = 5_000
const retryMs = { first: 50, last: 1_000 }

export type Outcome =
  | { readonly kind: 'made'; readonly position: Position }
  | { readonly kind: 'not made' }
  | { readonly kind: 'unknown'; readonly reason: string }

/** @param signal ends the search, with an unknown outcome */
export async function findOutcome(url: string, change: UnknownOutcome, signal: AbortSignal): Promise<Outcome> {
  let reason = change.message
  let retry = retryMs.first
  for (let spent = 0; spent < patienceMs && !signal.aborted; retry = Math.min(2 * retry, retryMs.last)) {
    const began = performance.now()
    let database: Database | undefined
    try {
      database = await Database.connect(url, 'ask', signal)
      const position = await database.outcome(change)
      if (position === undefined) return { kind: 'not made' }
      if (position !== 'pending') return { kind: 'made', position }
    } catch (error) {
      reason = reasonOf(error)
    } finally {
      database?.close()
    }
    await delay(retry, undefined, { signal }).catch(() => {})
    spent += Math.min(performance.now() - began, tryMs)
  }
  return { kind: 'unknown', reason }
}
