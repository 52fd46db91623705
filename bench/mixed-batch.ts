// A batch of 16 rows of 64 tokens, every row of a task of its own, against the same backbone graph without adapters.

import type { Engine, EngineRow } from '../src/engine/engine.js'
import { type Benchmark, inTurns, median, summary } from './figures.js'
import { loadModel, randomRows, startEngine } from './material.js'

const repeats = 40

export const mixedBatch: Benchmark = async () => {
  const model = await loadModel()
  const rows = randomRows(model, 16, 64)
  const [masked, bare] = await Promise.all([startEngine(model), startEngine(model, { bare: true })])
  for (const engine of [masked, bare, masked, bare]) await time(engine, rows)
  const turns = await inTurns(
    repeats,
    () => time(masked, rows),
    () => time(bare, rows),
  )
  await Promise.all([masked.close(), bare.close()])
  return [
    {
      what: '16 rows × 64 tokens of 16 tasks, time against the bare backbone',
      unit: '×',
      ...summary(turns.ratios),
      target: { atMost: 1.1 },
      notes: { 'masked ms': median(turns.a), 'bare ms': median(turns.b) },
    },
  ]
}

async function time(engine: Engine, rows: readonly EngineRow[]): Promise<number> {
  const start = performance.now()
  await engine.run(rows)
  return performance.now() - start
}
