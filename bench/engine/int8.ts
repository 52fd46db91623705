// int8 against float32: the throughput of the engine on the same texts, and the loss of score of the bundled tasks.

import { join } from 'node:path'
import { evaluate } from '../../src/commands/evaluate.js'
import type { EngineRow } from '../../src/engine/engine.js'
import { readTaskDescription } from '../../src/learn/training-folder.js'
import type { Numerics } from '../../src/runtime/numerics.js'
import { alternate, type Benchmark, median, summary } from '../support/figures.js'
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

const textCount = 768
const batchTokens = 1024
const rounds = 7

/** Throughput of the engine on batches of texts of similar length. */
export const int8: Benchmark = async (log) => {
  const model = await loadModel()
  const batches = batchesByLength(await rowsOf(model, mixedTexts().slice(0, textCount)))
  const [float32, int8] = await Promise.all([startEngine(model), startEngine(model, { numerics: 'int8' })])
  for (const engine of [float32, int8]) await timeBatches(engine, batches.slice(0, 2))
  const { a, b, ratios } = await alternate(
    rounds,
    () => timeBatches(float32, batches),
    () => timeBatches(int8, batches),
    (round) => log(`int8: round ${round} of ${rounds}`),
  )
  await Promise.all([float32.close(), int8.close()])
  const tokens = batches.flat().reduce((sum, { inputIds }) => sum + inputIds.length, 0)
  return [
    {
      name: 'Engine throughput, texts of similar length, int8 against float32',
      unit: '×',
      ...summary(ratios),
      target: { atLeast: 1.7 },
      notes: {
        'int8 tokens/s': (1000 * tokens) / median(b),
        'float32 tokens/s': (1000 * tokens) / median(a),
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

/** @param data a folder with one folder per bundled task, each with task.json and dev.jsonl */
export const int8Loss =
  (data: string): Benchmark =>
  async (log) => {
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
      log(`int8-loss: ${task}: ${float32.toFixed(4)} in float32, ${int8.toFixed(4)} in int8`)
    }
    const all = Object.values(losses)
    return [
      {
        name: 'Loss of score in int8 on the development sets, mean over the bundled tasks',
        unit: 'points',
        value: all.reduce((sum, loss) => sum + loss, 0) / all.length,
        spread: [Math.min(...all), Math.max(...all)],
        repeats: all.length,
        target: { atMost: 0.15 },
        notes: losses,
      },
    ]
  }

/** Sorts rows by length and cuts them into batches of at most `batchTokens` tokens. */
function batchesByLength(rows: readonly EngineRow[]): EngineRow[][] {
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
