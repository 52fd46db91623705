// Eight-bit integers against single precision: the same mixed texts through two engines, and what it costs in score.

import { join } from 'node:path'
import { evaluate } from '../../src/commands/evaluate.js'
import type { EngineRow } from '../../src/engine/engine.js'
import { readTaskDescription } from '../../src/learn/training-folder.js'
import type { Numerics } from '../../src/runtime/execution-providers.js'
import { type Benchmark, inTurns, median, summary } from '../support/figures.js'
import {
  bundledTasks,
  loadModel,
  masksDir,
  mixedTexts,
  modelDir,
  rowsOf,
  startEngine,
  timeBatches,
} from '../support/material.js'

const texts = 768
const batchTokens = 1024
const repeats = 7

/** Throughput of the engine, fed with batches of rows that are alike in length. */
export const int8: Benchmark = async (say) => {
  const model = await loadModel()
  const batches = alike(await rowsOf(model, mixedTexts().slice(0, texts)))
  const [float32, int8] = await Promise.all([startEngine(model), startEngine(model, { numerics: 'int8' })])
  for (const engine of [float32, int8]) await timeBatches(engine, batches.slice(0, 2))
  const turns = await inTurns(
    repeats,
    () => timeBatches(float32, batches),
    () => timeBatches(int8, batches),
    (turn) => say(`int8: ${turn} of ${repeats} repeats`),
  )
  await Promise.all([float32.close(), int8.close()])
  const tokens = batches.flat().reduce((sum, { inputIds }) => sum + inputIds.length, 0)
  return [
    {
      what: 'mixed texts through the engine in int8 against float32, throughput',
      unit: '×',
      ...summary(turns.ratios),
      target: { atLeast: 1.7 },
      notes: {
        'int8 tokens/s': (1000 * tokens) / median(turns.b),
        'float32 tokens/s': (1000 * tokens) / median(turns.a),
      },
    },
  ]
}

const evaluation = {
  modelDir,
  threads: 0,
  seed: 1,
  textColumn: 'text',
  labelColumn: 'label',
  json: true,
}

/** What the bundled tasks lose in score. @param data a folder of tasks, each a folder with dev.jsonl */
export const int8Loss =
  (data: string): Benchmark =>
  async (say) => {
    const losses: Record<string, number> = {}
    for (const task of bundledTasks) {
      const { metric } = await readTaskDescription(join(data, task, 'task.json'))
      const score = async (numerics: Numerics) => {
        const path = join(data, task, 'dev.jsonl')
        const flags = { ...evaluation, numerics, ...(metric && { metric }) }
        const report = await evaluate(join(masksDir, `${task}.safetensors`), path, flags)
        return (JSON.parse(report) as { score: number }).score
      }
      const [float32, int8] = [await score('float32'), await score('int8')]
      losses[task] = 100 * (float32 - int8)
      say(`int8-loss: ${task} ${float32.toFixed(4)} in float32, ${int8.toFixed(4)} in int8`)
    }
    const all = Object.values(losses)
    return [
      {
        what: "score that the bundled tasks lose in int8 on their dev sets, mean (the tasks' own beside it)",
        unit: 'points',
        value: all.reduce((sum, loss) => sum + loss, 0) / all.length,
        spread: [Math.min(...all), Math.max(...all)],
        repeats: all.length,
        target: { atMost: 0.3 },
        notes: losses,
      },
    ]
  }

/** Batches of at most so many tokens, of rows in the order of their lengths. */
function alike(rows: readonly EngineRow[]): EngineRow[][] {
  const batches: EngineRow[][] = []
  let tokens = Number.POSITIVE_INFINITY
  for (const row of rows.toSorted((a, b) => a.inputIds.length - b.inputIds.length)) {
    if (tokens + row.inputIds.length > batchTokens) {
      batches.push([])
      tokens = 0
    }
    batches.at(-1)?.push(row)
    tokens += row.inputIds.length
  }
  return batches
}
