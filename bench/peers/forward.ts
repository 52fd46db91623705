// The same forward pass of backbones in the shape of published models, here and in PyTorch's eager mode, in alternation.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Engine, EngineRow } from '../../src/engine/engine.js'
import type { Benchmark, Figure } from '../support/figures.js'
import { largeBatches, withLargeModels } from '../support/large-models.js'
import { randomRows, startEngine, timeBatches } from '../support/material.js'
import { againstPyTorch, startPyTorch } from './pytorch-peer.js'

/** A run takes seconds. */
const schedule = { rounds: 6, runsPerRound: 2 }
/** Both sides compute in float32. Their sums run in another order. */
const tolerance = 1e-3

/** @param python an interpreter with bench/peers/requirements.txt installed */
export const forwardAgainstPyTorch =
  (python: string): Benchmark =>
  async (log) => {
    const figures: Figure[] = []
    await withLargeModels(async (model) => {
      const { name, directory } = model
      const engine = await startEngine(model, { bare: true })
      try {
        for (const size of largeBatches) {
          log(`pytorch-forward: ${name}, ${size.rows} × ${size.tokens}`)
          const rows = randomRows(model, size.rows, size.tokens)
          const idsFile = join(directory, 'ids.json')
          await writeFile(idsFile, JSON.stringify(rows.map(({ inputIds }) => inputIds)))
          const peer = await startPyTorch(python, 'forward.py', [directory, idsFile], 2)
          const [vectors = '', version = ''] = peer.ready
          await checkSameVectors(engine, rows, JSON.parse(vectors))
          const compared = await againstPyTorch(peer, () => timeBatches(engine, [rows]), schedule)
          peer.close()
          figures.push({
            name: `Bare batch of ${size.rows} rows × ${size.tokens} tokens, random weights in the shape of ${name}: time of ${version} against ours`,
            unit: '×',
            ...compared,
            ...(name === 'ModernBERT-base' && size.tokens === 64 && { target: { atLeast: 1.2 } }),
          })
        }
      } finally {
        await engine.close()
      }
    })
    return figures
  }

/** @throws Error if PyTorch computes other vectors [rows, H], because then the comparison means nothing */
async function checkSameVectors(
  engine: Engine,
  batch: readonly EngineRow[],
  expected: readonly (readonly number[])[],
): Promise<void> {
  const { rows } = await engine.run(batch)
  for (const [row, { pooled }] of rows.entries())
    for (const [i, value] of pooled.entries()) {
      const difference = Math.abs(value - (expected[row]?.[i] ?? Number.NaN))
      if (!(difference <= tolerance))
        throw new Error(`PyTorch computes ${expected[row]?.[i]} for value ${i} of row ${row}, and our engine ${value}`)
    }
}
