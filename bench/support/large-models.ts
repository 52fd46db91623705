// Models in the shape of published ones, with random weights and a random adapter.

import { type Model, randomPrototype, withTemporaryDirectory } from './material.js'
import { debertaV3Small, modernBertBase, writeRandomBackbone } from './random-backbone.js'

/** Without a tokenizer. */
export interface LargeModel extends Pick<Model, 'backbone' | 'prototype'> {
  /** That of the published model. */
  readonly name: string
  readonly directory: string
}

/** The batches that are measured. */
export const largeBatches = [
  { rows: 16, tokens: 64 },
  { rows: 8, tokens: 256 },
] as const

/** Makes one model after another; each is deleted after its use. */
export async function withLargeModels(use: (model: LargeModel) => Promise<void>): Promise<void> {
  for (const shape of [modernBertBase(), debertaV3Small()])
    await withTemporaryDirectory(async (directory) => {
      const backbone = await writeRandomBackbone(directory, shape)
      const adapter = { kind: 'adapter', bottleneck: 64, activation: 'relu', scaling: 1 } as const
      await use({ backbone, prototype: randomPrototype(backbone, adapter), name: shape.name, directory })
    })
}
