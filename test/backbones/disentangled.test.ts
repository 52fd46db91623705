// DeBERTa: the entries of distances are those of `transformers`, modules that do not fit are rejected, and int8 is close.
// families.test.ts compares the hidden states.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { readBackbone } from '../../src/backbones/backbone.js'
import { entryOf } from '../../src/backbones/layers/disentangled.js'
import { Engine } from '../../src/engine/engine.js'
import { trainingGraph } from '../../src/learn/training-graph.js'
import { petlModule } from '../../src/petl/kinds.js'
import { elementCount } from '../../src/petl/module.js'
import { readPrototype, serializePrototype } from '../../src/petl/prototype-file.js'
import type { Numerics } from '../../src/runtime/numerics.js'
import { servingGraph } from '../../src/runtime/serving-graph.js'
import { directoryOf, expectedRows, wave } from './tiny.js'

describe('the entry of a distance', () => {
  // From make_log_bucket_position of `transformers`.
  test('is the one of DeBERTa-v3 in transformers', () => {
    const shape = { span: 256, logBuckets: { count: 256, farthest: 512 } }
    const buckets = [
      ...[
        [0, 0],
        [1, 1],
        [127, 127],
        [128, 128],
        [129, 129],
        [130, 130],
        [140, 137],
        [150, 143],
        [180, 160],
      ],
      ...[
        [200, 169],
        [255, 192],
        [300, 207],
        [349, 221],
        [350, 221],
        [400, 233],
        [500, 254],
        [509, 255],
        [511, 255],
      ],
    ] as [number, number][]
    for (const [distance, bucket] of buckets) {
      assert.equal(entryOf(distance, shape), 256 + bucket)
      assert.equal(entryOf(-distance, shape), 256 - bucket)
    }
  })

  test('is the one of transformers with few buckets, up to the last entry', () => {
    const begins = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 19, 29, 43, 65, 99]
    const shape = { span: 16, logBuckets: { count: 16, farthest: 150 } }
    for (let steps = 0; steps < 150; steps++) {
      const bucket = begins.findLastIndex((begin) => begin <= steps)
      assert.equal(entryOf(steps, shape), 16 + bucket)
      assert.equal(entryOf(-steps, shape), 16 - bucket)
    }
    assert.equal(entryOf(5000, shape), 31)
    assert.equal(entryOf(-5000, shape), 0)
  })

  test('is the distance without buckets, up to the first and the last entry', () => {
    for (const [distance, entry] of [
      [-9, 0],
      [-4, 0],
      [-3, 1],
      [0, 4],
      [3, 7],
      [4, 7],
      [9, 7],
    ] as const)
      assert.equal(entryOf(distance, { span: 4 }), entry)
  })
})

test('a prefix is rejected by name, when serving and when training', async () => {
  const backbone = await readBackbone(directoryOf('deberta-v2'))
  const { hiddenSize, layers } = backbone.dims
  const module = { kind: 'prefix', length: 2 } as const
  const tensors = new Map(
    petlModule(module, hiddenSize).maskable.map(({ name, shape }) => [name, wave(elementCount(shape), 0)]),
  )
  const prototype = readPrototype(
    serializePrototype({ backbone: backbone.digest, module, layers, hiddenSize, tensors }),
  )
  const rejection = {
    code: 'invalid_prototype',
    message: /the module prefix does not fit deberta-v2 models, because .+; use adapter or lora/,
  }
  assert.throws(() => servingGraph(backbone, prototype, { bank: 'uint16', gatherHalf: true }), rejection)
  const plan = { kind: 'plain', config: module, weights: 'trained' } as const
  const step = { mode: 'train', problem: 'regression', head: 'linear' } as const
  assert.throws(() => trainingGraph(backbone, plan, step), rejection)
})

test('int8 is close to float32', async () => {
  const backbone = await readBackbone(directoryOf('deberta-v2'))
  const rows = expectedRows('deberta-v2').map(({ inputIds, tokenTypeIds }) => {
    return {
      inputIds,
      tokenTypeIds,
      pooling: 'mean',
      maskKey: 'none',
      bitset: () => new Uint8Array(),
      withHidden: false,
    } as const
  })
  const pooled = async (numerics: Numerics) => {
    const engine = await Engine.start({
      backbone,
      prototype: undefined,
      provider: 'cpu',
      numerics,
      slots: 1,
      threads: 1,
    })
    try {
      return (await engine.run(rows)).rows.flatMap((row) => [...row.pooled])
    } finally {
      await engine.close()
    }
  }
  const exact = await pooled('float32')
  const rounded = await pooled('int8')
  const error = Math.hypot(...exact.map((value, i) => value - (rounded[i] ?? Number.NaN))) / Math.hypot(...exact)
  assert.ok(error > 0 && error < 0.1, `the error is ${error}`)
})
