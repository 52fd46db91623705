// Bitsets, their combination with layer masks, and the storage that the paper counts.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { countOnes, intersectInto, uniteInto } from '../../src/petl/bitset.js'
import { effectiveBitset } from '../../src/petl/combining.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { plainModuleBits, prototypeBits, taskBits } from '../../src/petl/storage.js'

const layers = 3
const n = 21
const maskBytes = 3
const prototype: Prototype = {
  digest: '',
  backbone: '',
  module: { kind: 'prefix', length: 1 },
  layers,
  hiddenSize: 1,
  maskableWeights: n,
  maskBytes,
  tensors: new Map(),
}
const bitsOf = (set: Uint8Array) =>
  Array.from({ length: set.length * 8 }, (_, i) => (((set[i >> 3] ?? 0) >> (i & 7)) & 1) === 1)
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

describe('bitsets', () => {
  test('count only the ones among the first bits', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 20 }), fc.nat(160), (set, bits) => {
        const within = Math.min(bits, set.length * 8)
        assert.equal(countOnes(set, within), bitsOf(set).slice(0, within).filter(Boolean).length)
      }),
    )
  })

  test('combine entry by entry in every layer, for masks of one layer and of all layers', () => {
    fc.assert(
      fc.property(
        bytes(layers * maskBytes),
        fc.constantFrom(1, layers).chain((maskLayers) => bytes(maskLayers * maskBytes)),
        fc.constantFrom('or' as const, 'and' as const, 'add' as const, 'none' as const),
        (layerMasks, bits, combine) => {
          const maskLayers = bits.length / maskBytes
          const mask = { layers: maskLayers, weights: 24, exact: false, bits }
          const planes = effectiveBitset({ mask, combine }, { ...prototype, layerMasks })
          const size = layers * maskBytes
          assert.equal(planes.length, combine === 'add' ? 2 * size : size)
          const effective = bitsOf(planes.subarray(0, size))
          const second = bitsOf(planes.subarray(size))
          const own = bitsOf(bits)
          const shared = bitsOf(layerMasks)
          for (let i = 0; i < layers * 24; i++) {
            const task = own[maskLayers === 1 ? i % 24 : i] === true
            const layer = shared[i] === true
            const entry = {
              or: task || layer ? 1 : 0,
              and: task && layer ? 1 : 0,
              add: Number(task) + Number(layer),
              none: Number(task),
            }
            assert.equal(Number(effective[i]) + Number(second[i] ?? false), entry[combine])
          }
        },
      ),
    )
  })
})

describe('bitsets within larger buffers', () => {
  test('unite and intersect at any byte offset', () => {
    const offset = fc.nat(5)
    fc.assert(
      fc.property(bytes(21), bytes(21), offset, offset, (a, b, atA, atB) => {
        const within = (set: Uint8Array, at: number) => {
          const larger = new Uint8Array(set.length + at)
          larger.set(set, at)
          return larger.subarray(at)
        }
        const united = within(a, atA)
        uniteInto(united, within(b, atB))
        const shared = within(a, atA)
        intersectInto(shared, within(b, atB))
        assert.deepEqual(
          Array.from(united),
          Array.from(a, (byte, i) => byte | (b[i] ?? 0)),
        )
        assert.deepEqual(
          Array.from(shared),
          Array.from(a, (byte, i) => byte & (b[i] ?? 0)),
        )
      }),
    )
  })
})

describe('bit-level storage', () => {
  test('has the figures of the paper for RoBERTa-base with adapters of 64', () => {
    const H = 768
    const roberta: Prototype = {
      ...prototype,
      module: { kind: 'adapter', bottleneck: 64, activation: 'relu', scaling: 1 },
      layers: 12,
      hiddenSize: H,
      maskableWeights: 2 * 64 * H,
      layerMasks: new Uint8Array(),
    }
    // RoBERTa-base has 124.65 million weights. Table 1 of the paper has 0.11 % and 0.95 %.
    const backboneBits = 124.65e6 * 32
    const { weights, layerMasks } = prototypeBits(roberta)
    assert.equal((((weights + layerMasks) / backboneBits) * 100).toFixed(2), '0.11')
    assert.equal(((plainModuleBits(roberta) / backboneBits) * 100).toFixed(2), '0.95')
    assert.equal(taskBits(roberta, 1), 98_304)
  })

  test('of LoRA and prefix counts exactly the masked tensors', () => {
    const H = 768
    const base = { ...prototype, layers: 12, hiddenSize: H, layerMasks: new Uint8Array() }
    // LoRA of rank 32 has A and B for query and value. A prefix of 64 has keys and values.
    const lora: Prototype = { ...base, module: { kind: 'lora', rank: 32, alpha: 48 }, maskableWeights: 4 * 32 * H }
    assert.deepEqual(prototypeBits(lora), { weights: 32 * 98_304, layerMasks: 12 * 98_304 })
    assert.equal(plainModuleBits(lora), 12 * 32 * 98_304)
    const prefix: Prototype = { ...base, module: { kind: 'prefix', length: 64 }, maskableWeights: 64 * 2 * H }
    assert.deepEqual(prototypeBits(prefix), { weights: 32 * 98_304, layerMasks: 12 * 98_304 })
    assert.equal(taskBits(prefix, 12), 12 * 98_304)
  })
})
