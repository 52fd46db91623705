// The texts of all bundled tasks, mixed, in batches of 64 as they come: packed tokens against padding to the longest.

import type { Engine, EngineRow } from '../src/engine/engine.js'
import { type Benchmark, inTurns, median, summary } from './figures.js'
import { loadModel, mixedTexts, rowsOf, startEngine } from './material.js'

const batchRows = 64
const batches = 6
const repeats = 5

export const padding: Benchmark = async (say) => {
  const model = await loadModel()
  const rows = await rowsOf(model, mixedTexts().slice(0, batchRows * batches))
  const [packed, padded] = await Promise.all([startEngine(model), startEngine(model, { computePadding: true })])
  await time(packed, rows.slice(0, batchRows))
  await time(padded, rows.slice(0, batchRows))
  const turns = await inTurns(
    repeats,
    () => time(padded, rows),
    () => time(packed, rows),
    (turn) => say(`padding: ${turn} of ${repeats} repeats`),
  )
  await Promise.all([packed.close(), padded.close()])
  const perSecond = (ms: number) => (1000 * rows.length) / ms
  return [
    {
      what: 'mixed texts as they come, packed tokens against padding to the longest, throughput',
      unit: '×',
      ...summary(turns.ratios),
      target: { atLeast: 1.8 },
      notes: { 'packed texts/s': perSecond(median(turns.b)), 'padded texts/s': perSecond(median(turns.a)) },
    },
  ]
}

async function time(engine: Engine, rows: readonly EngineRow[]): Promise<number> {
  const start = performance.now()
  for (let first = 0; first < rows.length; first += batchRows) await engine.run(rows.slice(first, first + batchRows))
  return performance.now() - start
}
