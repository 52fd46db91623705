// The texts of all bundled tasks, mixed, in batches of 64 as they come: packed tokens against padding to the longest.

import { type Benchmark, inTurns, median, summary } from '../support/figures.js'
import { loadModel, mixedTexts, rowsOf, startEngine, timeBatches } from '../support/material.js'

const batchRows = 64
const batchCount = 6
const repeats = 5

export const padding: Benchmark = async (say) => {
  const model = await loadModel()
  const rows = await rowsOf(model, mixedTexts().slice(0, batchRows * batchCount))
  const batches = Array.from({ length: batchCount }, (_, i) => rows.slice(i * batchRows, (i + 1) * batchRows))
  const [packed, padded] = await Promise.all([startEngine(model), startEngine(model, { computePadding: true })])
  for (const engine of [packed, padded]) await timeBatches(engine, batches.slice(0, 1))
  const turns = await inTurns(
    repeats,
    () => timeBatches(padded, batches),
    () => timeBatches(packed, batches),
    (turn) => say(`padding: ${turn} of ${repeats} repeats`),
  )
  await Promise.all([packed.close(), padded.close()])
  const perSecond = (ms: number) => (1000 * rows.length) / ms
  return [
    {
      what: 'mixed texts as they come, packed tokens against padding to the longest, throughput',
      unit: '×',
      ...summary(turns.ratios),
      target: { atLeast: 2 },
      notes: { 'packed texts/s': perSecond(median(turns.b)), 'padded texts/s': perSecond(median(turns.a)) },
    },
  ]
}
