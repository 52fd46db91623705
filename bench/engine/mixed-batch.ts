// A batch of 16 rows of 64 tokens, every row of a task of its own, against the same backbone graph without a module.

import { basename, resolve } from 'node:path'
import { readBackbone } from '../../src/backbones/backbone.js'
import type { Engine, EngineRow } from '../../src/engine/engine.js'
import type { ModuleConfig } from '../../src/petl/kinds.js'
import { type Benchmark, type Figure, inTurns, median, summary } from '../support/figures.js'
import { loadModel, type Model, randomPrototype, randomRows, startEngine, timeBatches } from '../support/material.js'

const repeats = 40

export const mixedBatch: Benchmark = async (say) => {
  const model = await loadModel()
  const figures = [await against(model, 'tasks of the bundled prototype', 1.07)]
  for (const { module, what, target } of modules) {
    say(`mixed batch: ${module.kind}`)
    figures.push(await against({ ...model, prototype: randomPrototype(model.backbone, module) }, what, target))
  }
  return figures
}

/** The same on any backbone, under a prototype of random weights: an adapter of a twelfth of its width. */
export const mixedBatchOn =
  (directory: string): Benchmark =>
  async (say) => {
    const backbone = await readBackbone(directory)
    const { hiddenSize, layers } = backbone.dims
    const bottleneck = Math.floor(hiddenSize / 12)
    const prototype = randomPrototype(backbone, { kind: 'adapter', bottleneck, activation: 'relu', scaling: 1 })
    const name = `${basename(resolve(directory))} (${backbone.type}, ${layers} × ${hiddenSize})`
    say(`mixed batch: ${name}`)
    return [await against({ backbone, prototype }, `tasks of an adapter of ${bottleneck} on ${name}`, 1.08)]
  }

const modules: readonly { readonly module: ModuleConfig; readonly what: string; readonly target: number }[] = [
  { module: { kind: 'lora', rank: 16, alpha: 24 }, what: 'tasks of LoRA with rank 16', target: 1.15 },
  { module: { kind: 'prefix', length: 32 }, what: 'tasks of a prefix of 32', target: 1.2 },
]

async function against(model: Pick<Model, 'backbone' | 'prototype'>, what: string, atMost: number): Promise<Figure> {
  const [masked, bare] = await Promise.all([startEngine(model), startEngine(model, { bare: true })])
  const found = await againstBare(masked, bare, randomRows(model, 16, 64), repeats)
  await Promise.all([masked.close(), bare.close()])
  return { what: `16 rows × 64 tokens of 16 ${what}, time against the bare backbone`, ...found, target: { atMost } }
}

/** Time that a batch takes on an engine with the module, against one without it. */
export async function againstBare(
  masked: Engine,
  bare: Engine,
  rows: readonly EngineRow[],
  turns: number,
): Promise<Omit<Figure, 'what' | 'notes'> & { readonly notes: Readonly<Record<'masked ms' | 'bare ms', number>> }> {
  for (const engine of [masked, bare, masked, bare]) await timeBatches(engine, [rows])
  const { a, b, ratios } = await inTurns(
    turns,
    () => timeBatches(masked, [rows]),
    () => timeBatches(bare, [rows]),
  )
  return { unit: '×', ...summary(ratios), notes: { 'masked ms': median(a), 'bare ms': median(b) } }
}
