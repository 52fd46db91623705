// Deletes the records of datasets that were removed. A dataset can have a million examples, so this takes many transactions.
// The list of removed datasets is in the store: any server on it continues after an interruption.

import { setTimeout } from 'node:timers/promises'
import { recordsIn, type Store } from '../store/store.js'
import { removePage } from './record-pages.js'

interface Log {
  error(details: object, message: string): void
}

/** Time between two searches, in milliseconds. */
const searchPauseMs = 10_000
/** Datasets of one search. */
const perSearch = 100

/** Searches for removed datasets and deletes their records, again and again until the signal aborts. */
export async function sweepDatasets(
  store: Store,
  logger: Log,
  signal: AbortSignal,
  pauseMs = searchPauseMs,
): Promise<void> {
  while (!signal.aborted) {
    try {
      const removed = Array.from(store.range('removals', { limit: perSearch }), ([key]) => key)
      for (const dataset of removed) await sweep(store, dataset, signal)
    } catch (error) {
      logger.error(
        { reason: (error as Error).message },
        'deleted examples cannot be removed from the store; the server will try again',
      )
    }
    await setTimeout(pauseMs, undefined, { signal, ref: false }).catch(() => {})
  }
}

async function sweep(store: Store, dataset: string, signal: AbortSignal): Promise<void> {
  for (let isLast = false; !isLast && !signal.aborted; )
    isLast = await store.change((records) => {
      if (!removePage(records, 'examples', recordsIn(dataset))) return false
      records.remove('removals', dataset)
      return true
    })
}
