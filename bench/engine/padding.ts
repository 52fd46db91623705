// Packed tokens against padded rows: texts of all bundled tasks in batches of 64, in their mixed order.

import { alternate, type Benchmark, median, summary } from '../support/figures.js'
import { loadModel, mixedTexts, rowsOf, startEngine, timeBatches } from '../support/material.js'

const batchRows = 64
const batchCount = 6
const rounds = 5

export const padding: Benchmark = async (log) => {
  const model = await loadModel()
  const rows = await rowsOf(model, mixedTexts().slice(0, batchRows * batchCount))
  const batches = Array.from({ length: batchCount }, (_, i) => rows.slice(i * batchRows, (i + 1) * batchRows))
  const [packed, padded] = await Promise.all([startEngine(model), startEngine(model, { computePadding: true })])
  for (const engine of [packed, padded]) await timeBatches(engine, batches.slice(0, 1))
  const { a, b, ratios } = await alternate(
    rounds,
    () => timeBatches(padded, batches),
    () => timeBatches(packed, batches),
    (round) => log(`padding: round ${round} of ${rounds}`),
  )
  await Promise.all([packed.close(), padded.close()])
  const perSecond = (ms: number) => (1000 * rows.length) / ms
  return [
    {
      name: 'Engine throughput, batches of 64 mixed texts, packed tokens against padding to the longest text',
      unit: '×',
      ...summary(ratios),
      target: { atLeast: 2 },
      notes: { 'packed texts/s': perSecond(median(b)), 'padded texts/s': perSecond(median(a)) },
    },
  ]
}
