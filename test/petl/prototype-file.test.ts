// Valid prototype files, and the errors for invalid ones.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { serializeSafetensors, type TensorData } from '../../src/formats/safetensors.js'
import { type ModuleConfig, petlModule } from '../../src/petl/kinds.js'
import { elementCount, weightCount } from '../../src/petl/module.js'
import { readPrototype } from '../../src/petl/prototype-file.js'
import type { Problem } from '../../src/problem.js'
import { floats } from '../material.js'

const H = 4
const layers = 2

const filled = (...shape: number[]) => floats(shape, new Float32Array(elementCount(shape)).fill(0.5))
const metadata = (kind: string, config: unknown) => ({
  format: 'propetl-prototype/1',
  kind,
  config: JSON.stringify(config),
  layers: String(layers),
  hidden_size: String(H),
  backbone: 'a'.repeat(64),
})
const adapter = {
  'down.weight': filled(3, H),
  'up.weight': filled(H, 3),
  'down.bias': filled(3),
  'up.bias': filled(H),
}
const lora = { 'query.A': filled(2, H), 'query.B': filled(H, 2), 'value.A': filled(2, H), 'value.B': filled(H, 2) }
const prefix = { base: filled(5, 2 * H) }
const adapterConfig = { bottleneck: 3, activation: 'relu', scaling: 1 }
const loraConfig = { rank: 2, alpha: 3 }
const nan = { ...filled(5, 2 * H), data: new Uint8Array(new Float32Array(10 * H).fill(Number.NaN).buffer) }

const good: [string, unknown, Record<string, TensorData>, number][] = [
  ['adapter', adapterConfig, adapter, 24],
  ['lora', loraConfig, lora, 32],
  ['prefix', { length: 5 }, prefix, 40],
]

const rejected: [string, string, unknown, Record<string, TensorData>, RegExp][] = [
  ['LoRA with the tensors of an adapter', 'lora', loraConfig, adapter, /tensor "query\.A" \[2, 4\] is missing/],
  ['an unexpected tensor', 'lora', loraConfig, { ...lora, ...prefix }, /tensor "base" is not part of lora prototypes/],
  [
    'a rank of 0',
    'lora',
    { rank: 0, alpha: 1 },
    lora,
    /"config" is "\{\\"rank\\":0,\\"alpha\\":1\}"; expected \{"rank", "alpha"\} with a whole number from 1 as rank/,
  ],
  [
    'a prefix of length 0',
    'prefix',
    { length: 0 },
    prefix,
    /"config" is "\{\\"length\\":0\}"; expected \{"length"\}, a whole number from 1/,
  ],
  [
    'a bottleneck of 0',
    'adapter',
    { ...adapterConfig, bottleneck: 0 },
    adapter,
    /"config" is .*; expected .* with a whole number from 1 as bottleneck/,
  ],
  [
    'a rank that differs from the tensors',
    'lora',
    { rank: 3, alpha: 1 },
    lora,
    /"query\.A" has shape \[2, 4\]; expected \[3, 4\]/,
  ],
  [
    'a length that differs from the tensor',
    'prefix',
    { length: 4 },
    prefix,
    /"base" has shape \[5, 8\]; expected \[4, 8\]/,
  ],
  ['a value that is not finite', 'prefix', { length: 5 }, { base: nan }, /"base" contains a value that is not finite/],
  ['an unknown kind', 'ia3', {}, {}, /"kind" is "ia3"; expected adapter \| lora \| prefix/],
  [
    'layer masks of another size',
    'prefix',
    { length: 5 },
    { ...prefix, layer_masks: { dtype: 'U8', shape: [layers, 4], data: new Uint8Array(8) } },
    /layer_masks is U8 \[2, 4\]; expected U8 \[2, 5\]/,
  ],
]

describe('the prototype file', () => {
  for (const [kind, config, tensors, n] of good)
    test(`is read with a ${kind} of ${n} maskable weights`, () => {
      const prototype = readPrototype(serializeSafetensors(metadata(kind, config), tensors))
      assert.equal(prototype.maskableWeights, n)
      assert.deepEqual(prototype.module, { kind, ...(config as object) })
      assert.equal(weightCount(petlModule(prototype.module as ModuleConfig, H).maskable), n)
    })

  test('has the kind of its metadata, even if its settings name another kind', () => {
    const config = { length: 5, kind: 'ia3', rank: 2 }
    const { module } = readPrototype(serializeSafetensors(metadata('prefix', config), prefix))
    assert.equal(module.kind, 'prefix')
  })

  test('is rejected with an odd number of bytes as a tensor', () => {
    const tensors = { ...adapter, 'down.bias': { dtype: 'U8', shape: [3], data: new Uint8Array(3) } as const }
    assert.throws(() => readPrototype(serializeSafetensors(metadata('adapter', adapterConfig), tensors)), {
      code: 'not_safetensors',
      message: 'tensor "down.bias": expected F32, F16 or BF16, not U8',
    })
  })

  for (const [what, kind, config, tensors, message] of rejected)
    test(`is rejected with ${what}`, () => {
      assert.throws(
        () => readPrototype(serializeSafetensors(metadata(kind, config), tensors)),
        (error: Problem) => error.code === 'invalid_prototype' && message.test(error.message),
      )
    })
})
