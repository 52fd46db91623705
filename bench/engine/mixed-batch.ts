// The cost of the masks: a batch of 16 rows × 64 tokens, each row of a different task, against the same backbone graph
// without a module.

import { basename, resolve } from 'node:path'
import { readBackbone } from '../../src/backbones/backbone.js'
import type { Engine, EngineRow } from '../../src/engine/engine.js'
import type { ModuleConfig } from '../../src/petl/kinds.js'
import { alternate, type Benchmark, type Figure, median, summary } from '../support/figures.js'
import { largeBatches, withLargeModels } from '../support/large-models.js'
import { loadModel, type Model, randomPrototype, randomRows, startEngine, timeBatches } from '../support/material.js'

const rounds = 40

const modules: readonly { readonly module: ModuleConfig; readonly name: string; readonly atMost: number }[] = [
  { module: { kind: 'lora', rank: 16, alpha: 24 }, name: 'LoRA of rank 16', atMost: 1.15 },
  { module: { kind: 'prefix', length: 32 }, name: 'prefix of 32', atMost: 1.2 },
]

/** The bundled adapter, and LoRA and prefix prototypes with random weights. */
export const mixedBatch: Benchmark = async (log) => {
  const model = await loadModel()
  const figures = [await figureOf(model, 'bundled adapter', 1.07)]
  for (const { module, name, atMost } of modules) {
    log(`mixed-batch: ${name}`)
    figures.push(await figureOf({ ...model, prototype: randomPrototype(model.backbone, module) }, name, atMost))
  }
  return figures
}

/** Any backbone, with a random adapter whose bottleneck is a twelfth of the hidden size. */
export const mixedBatchOn =
  (directory: string): Benchmark =>
  async (log) => {
    const backbone = await readBackbone(directory)
    const { hiddenSize, layers } = backbone.dims
    const bottleneck = Math.floor(hiddenSize / 12)
    const prototype = randomPrototype(backbone, { kind: 'adapter', bottleneck, activation: 'relu', scaling: 1 })
    const name = `${basename(resolve(directory))} (${backbone.type}, ${layers} layers of ${hiddenSize})`
    log(`other-backbone: ${name}`)
    return [await figureOf({ backbone, prototype }, `adapter of ${bottleneck} on ${name}`, 1.08)]
  }

/** Larger models need more time for a batch, so fewer rounds are measured. */
const largeModelRounds = 8

/** Backbones in the shape of published models, with random weights and a random adapter. */
export const randomBackbones: Benchmark = async (log) => {
  const figures: Figure[] = []
  await withLargeModels(async (model) => {
    const name = `adapter of 64 on random weights in the shape of ${model.name}`
    for (const size of largeBatches) {
      log(`random-backbones: ${model.name}, ${size.rows} × ${size.tokens}`)
      figures.push(await figureOf(model, name, 1.08, size, largeModelRounds))
    }
  })
  return figures
}

async function figureOf(
  model: Pick<Model, 'backbone' | 'prototype'>,
  module: string,
  atMost: number,
  size = { rows: 16, tokens: 64 },
  roundCount = rounds,
): Promise<Figure> {
  const [masked, bare] = await Promise.all([startEngine(model), startEngine(model, { bare: true })])
  const measured = await againstBare(masked, bare, randomRows(model, size.rows, size.tokens), roundCount)
  await Promise.all([masked.close(), bare.close()])
  return {
    name: `Batch of ${size.rows} rows × ${size.tokens} tokens, ${size.rows} tasks, ${module}: time against the bare backbone`,
    ...measured,
    target: { atMost },
  }
}

/** The time of a batch on an engine with a module, against an engine without one. */
export async function againstBare(
  masked: Engine,
  bare: Engine,
  rows: readonly EngineRow[],
  roundCount: number,
): Promise<Omit<Figure, 'name' | 'notes'> & { readonly notes: Readonly<Record<'masked ms' | 'bare ms', number>> }> {
  for (const engine of [masked, bare, masked, bare]) await timeBatches(engine, [rows])
  const { a, b, ratios } = await alternate(
    roundCount,
    () => timeBatches(masked, [rows]),
    () => timeBatches(bare, [rows]),
  )
  return { unit: '×', ...summary(ratios), notes: { 'masked ms': median(a), 'bare ms': median(b) } }
}
