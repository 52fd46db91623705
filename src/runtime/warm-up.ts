// The batches that warm a session up, and how long they take: by them a provider is chosen, and the scheduler knows what
// a batch costs before the first request comes.

import { type PackedRows, packRows } from './packed-rows.js'
import type { ServingSession } from './session.js'

export interface BatchTiming {
  readonly tokens: number
  readonly ms: number
}

/** A row of the batches that are timed, in tokens. */
const rowTokens = 32
const mostRows = 256
/** So many sizes are timed in any case: of fewer a moment's load would be taken for the cost. */
const leastSizes = 3
/** A batch that would take longer is not tried, in milliseconds: start-up waits for it, and later each row for its batch. */
const longestMs = 50
/** One that has not this much more throughput than the one before is the last one. */
const leastGain = 0.05

export function warmUpBatch(rows: number, tokens: number): PackedRows {
  const row = { inputIds: new Int32Array(tokens), tokenTypeIds: new Int32Array(tokens), pooling: 'mean' as const }
  return packRows(Array.from({ length: rows }, () => row))
}

/** Milliseconds of a run. The first one also allocates buffers and compiles shaders. */
export async function timeRun(session: ServingSession, batch: PackedRows): Promise<number> {
  const start = performance.now()
  await session.run(batch, new Int32Array(batch.rows), false)
  return performance.now() - start
}

/**
 * Times batches, each twice as large as the one before and the better of two runs, until larger ones are no better or
 * take too long.
 * @param maxTokens tokens of the longest row that the backbone takes
 */
export async function timeBatches(session: ServingSession, maxTokens: number): Promise<BatchTiming[]> {
  const timings: BatchTiming[] = []
  const length = Math.min(rowTokens, maxTokens)
  for (let rows = 1, rate = 0; rows <= mostRows; rows *= 2) {
    const batch = warmUpBatch(rows, length)
    const ms = Math.min(await timeRun(session, batch), await timeRun(session, batch))
    timings.push({ tokens: batch.tokens, ms })
    if (timings.length >= leastSizes && (2 * ms > longestMs || batch.tokens / ms < (1 + leastGain) * rate)) break
    rate = batch.tokens / ms
  }
  return timings
}
