// Compares loss, logits and gradients of the whole model with an independent implementation in PyTorch.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { readBackbone } from '../../src/backbones/backbone.js'
import { parseHeader, tensorBytes, tensorFloats } from '../../src/formats/safetensors.js'
import { poolInputs, targetInputs, textInputs } from '../../src/learn/batches.js'
import { headParameters, type ModulePlan, moduleParameters } from '../../src/learn/plan.js'
import { trainingGraph } from '../../src/learn/training-graph.js'
import { maskFromScores, straightThroughGradient } from '../../src/petl/scores.js'
import { GraphSession } from '../../src/runtime/graph-session.js'
import { packRows } from '../../src/runtime/packed-rows.js'
import { modelDir, root, testProvider } from '../material.js'

const provider = testProvider === 'cuda' ? testProvider : 'cpu'

const file = await readFile(join(root, 'test/fixtures/reference/gradients.safetensors'))
const header = parseHeader(file)

const info = (name: string) => header.tensors.get(name) ?? assert.fail(`no tensor ${name}`)
const floats = (name: string) => tensorFloats(file, name, info(name))
const integers = (name: string) =>
  Array.from(new BigInt64Array(new Uint8Array(tensorBytes(file, info(name))).buffer), Number)

const plan: ModulePlan = {
  kind: 'prototype',
  config: { kind: 'adapter', bottleneck: 32, activation: 'relu', scaling: 1 },
  weights: 'trained',
  masks: { kind: 'layer and task', layer: 'trained', task: 'trained', combine: 'or' },
}

function relativeError(found: Float32Array | undefined, expected: Float32Array): number {
  assert.equal(found?.length, expected.length)
  return Math.hypot(...expected.map((value, i) => value - (found?.[i] ?? Number.NaN))) / Math.hypot(...expected)
}

test('loss, logits and all gradients agree with PyTorch', async () => {
  const backbone = await readBackbone(modelDir)
  const { layers, hiddenSize: H } = backbone.dims
  const [B = 0, S = 0] = info('input_ids').shape
  const [ids, types, attended] = ['input_ids', 'token_type_ids', 'attention_mask'].map(integers)
  const rows = Array.from({ length: B }, (_, b) => {
    const length = attended?.slice(b * S, (b + 1) * S).reduce((sum, bit) => sum + bit, 0) ?? 0
    const cut = (all: number[] | undefined) => all?.slice(b * S, b * S + length) ?? []
    return { inputIds: cut(ids), tokenTypeIds: cut(types), pooling: 'mean' as const }
  })
  assert.ok(new Set(rows.map(({ inputIds }) => inputIds.length)).size > 1, 'the rows differ in length')
  const targets = new Float32Array(B * 2)
  for (const [b, label] of integers('labels').entries()) targets[b * 2 + label] = 1

  const k = Number(header.metadata.get('k'))
  const parameters = [...moduleParameters(plan, layers, H), ...headParameters(2, H, 'linear')]
  const stored = (name: string) => name.replace(/\.mask\.(\w+)\.weight$/, '.scores.$1')
  const inputs = Object.fromEntries(
    parameters.map(({ name, kind, shape }) => {
      const values = floats(stored(name))
      return [name, { shape, data: kind === 'mask' ? maskFromScores(values, k) : values }]
    }),
  )
  const packed = packRows(rows)
  const problem = 'single_label_classification'
  const graph = trainingGraph(backbone, plan, { mode: 'train', problem, head: 'linear' })
  const session = await GraphSession.open(graph, { directory: backbone.weightsFolder, provider, threads: 2 })
  const outputs = await session.run({
    ...textInputs(packed),
    ...poolInputs(packed),
    ...targetInputs(targets, new Float32Array(B).fill(1 / B)),
    ...inputs,
  })
  await session.release()

  assert.ok(relativeError(outputs.get('loss'), floats('loss')) <= 1e-4)
  assert.ok(relativeError(outputs.get('logits'), floats('logits')) <= 1e-3)
  assert.equal(parameters.length, 4 + 2 * (layers + 1) + 2)
  for (const { name, kind } of parameters) {
    const gradient = outputs.get(`${name}.grad`) ?? assert.fail(`no gradient of ${name}`)
    if (kind === 'mask') straightThroughGradient(floats(stored(name)), gradient)
    const error = relativeError(gradient, floats(`${stored(name)}.grad`))
    assert.ok(error <= 1e-3, `${name}: relative error ${error}`)
  }
})
