// Warm-up batches and their times. They decide between providers, and they are the first measurements of the scheduler's cost
// model.

import { type PackedRows, packRows } from './packed-rows.js'
import type { ServingSession } from './session.js'

export interface BatchTiming {
  readonly tokens: number
  readonly ms: number
}

/** Length of the rows of timed batches, in tokens. */
const rowTokens = 32
const maxRows = 256
/** At least this number of sizes is timed. With fewer, a short load on the machine would distort the cost model. */
const minSizes = 3
/** No batch that would take longer is timed, in milliseconds. Start-up would wait for it, and so would rows later. */
const maxBatchMs = 50
/** If a size has less than this gain in throughput over the size before, no larger one is timed. */
const minGain = 0.05

export function warmUpBatch(rows: number, tokens: number): PackedRows {
  const row = { inputIds: new Int32Array(tokens), tokenTypeIds: new Int32Array(tokens), pooling: 'mean' as const }
  return packRows(Array.from({ length: rows }, () => row))
}

/** Milliseconds of one run. The first run of a session also allocates buffers and compiles shaders. */
export async function timeRun(session: ServingSession, batch: PackedRows): Promise<number> {
  const start = performance.now()
  await session.run(batch, new Int32Array(batch.rows), false)
  return performance.now() - start
}

/**
 * Times batches of doubling size, each as the faster of two runs, until larger batches gain nothing or take too long.
 * @param maxTokens tokens of the longest row that the backbone takes
 */
export async function timeBatches(session: ServingSession, maxTokens: number): Promise<BatchTiming[]> {
  const timings: BatchTiming[] = []
  const length = Math.min(rowTokens, maxTokens)
  for (let rows = 1, rate = 0; rows <= maxRows; rows *= 2) {
    const batch = warmUpBatch(rows, length)
    const ms = Math.min(await timeRun(session, batch), await timeRun(session, batch))
    timings.push({ tokens: batch.tokens, ms })
    if (timings.length >= minSizes && (2 * ms > maxBatchMs || batch.tokens / ms < (1 + minGain) * rate)) break
    rate = batch.tokens / ms
  }
  return timings
}
