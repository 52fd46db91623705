// The readers of task and prototype files read back what the writers write.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { packBits } from '../../src/petl/bitset.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { readPrototype, serializePrototype } from '../../src/petl/prototype-file.js'
import type { Task } from '../../src/petl/task.js'
import { readTaskFile, serializeTaskFile } from '../../src/petl/task-file.js'

const digest = 'a'.repeat(64)
const values = (length: number) => Float32Array.from({ length }, (_, i) => Math.fround(Math.sin(i)))
const linear = (inputs: number, outputs: number) => ({
  inputs,
  outputs,
  weight: values(inputs * outputs),
  bias: values(outputs),
})

const common = {
  prototype: digest,
  combine: 'none' as const,
  pooling: 'mean' as const,
  labels: ['nö', 'yes "quoted"'],
  mask: { layers: 2, weights: 16, exact: false, bits: Uint8Array.of(1, 2, 3, 255) },
  head: { output: linear(3, 2) },
  description: 'two\nlines',
  metrics: { dev: { accuracy: 0.5 } },
  maxLength: 128,
  textPrefix: 'query: ',
  inputs: 'pair' as const,
  heldOut: Uint8Array.from({ length: 16 }, (_, i) => 17 * i),
}
const classification: Task = { ...common, problemType: 'single_label_classification' }
const weighted: Task = { ...classification, thresholds: Float32Array.of(0.25, 0.75) }
const regression: Task = {
  ...common,
  problemType: 'regression',
  offset: 1_700_000_000.25,
  pooling: 'cls',
  combine: 'or',
  labels: [],
  range: [-1, 2.5],
  head: { output: linear(4, 1), dense: { ...linear(3, 4), activation: 'relu' } },
}

const multiLabel: Task = { ...common, problemType: 'multi_label_classification', thresholds: 0.3 }
const multiLabelThresholds: Task = { ...multiLabel, thresholds: Float32Array.of(0.5, 0.125) }
const { head: _, ...headless } = common
const features: Task = {
  ...headless,
  problemType: 'feature_extraction',
  inputs: 'text',
  labels: [],
  normalize: false,
}

const bare: Task = {
  backbone: digest,
  problemType: 'single_label_classification',
  pooling: 'mean',
  labels: ['no', 'yes'],
  head: { output: linear(3, 2) },
}

for (const [name, task] of Object.entries({
  classification,
  'classification without a mask': bare,
  'classification with thresholds': weighted,
  'multi-label classification': multiLabel,
  'multi-label classification with thresholds': multiLabelThresholds,
  regression,
  'feature extraction': features,
}))
  test(`a task file of ${name} is read back equal`, () => {
    const { digest, ...read } = readTaskFile(serializeTaskFile(task))
    assert.deepEqual(read, task)
    assert.match(digest, /^[0-9a-f]{64}$/)
  })

test('a prototype is read back equal', () => {
  const prototype: Omit<Prototype, 'digest' | 'maskableWeights' | 'maskBytes'> = {
    backbone: digest,
    module: { kind: 'adapter', bottleneck: 2, activation: 'relu', scaling: 0.5 },
    layers: 3,
    hiddenSize: 5,
    tensors: new Map([
      ['down.weight', values(10)],
      ['up.weight', values(10)],
      ['down.bias', values(2)],
      ['up.bias', values(5)],
    ]),
    layerMasks: Uint8Array.from({ length: 9 }, (_, i) => i),
    learnedOn: ['sst2', 'nö "quoted"'],
  }
  const { digest: own, maskableWeights, maskBytes, ...read } = readPrototype(serializePrototype(prototype))
  assert.deepEqual(read, prototype)
  assert.equal(maskableWeights, 20)
  assert.equal(maskBytes, 3)
})

test('bit i of packed masks belongs to element i of the concatenated arrays', () => {
  const array = fc.array(fc.constantFrom(0, 1), { maxLength: 30 })
  fc.assert(
    fc.property(fc.array(array, { maxLength: 4 }), (arrays) => {
      const set = packBits(arrays)
      const flat = arrays.flat()
      assert.equal(set.byteLength, Math.ceil(flat.length / 8))
      const text = [...set].map((byte) => [...byte.toString(2).padStart(8, '0')].reverse().join('')).join('')
      assert.equal(text, flat.join('').padEnd(text.length, '0'))
    }),
  )
})
