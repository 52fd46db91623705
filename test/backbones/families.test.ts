// Compares every family with `transformers` in PyTorch: token ids, hidden states and modules of tiny random models. Their
// weights are float32, float16 or bfloat16, with or without a name prefix (test/fixtures/backbones/make.py).

import assert from 'node:assert/strict'
import { copyFile, mkdir, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import { TextTokenizer } from '../../src/backbones/tokenizer.js'
import { Engine, type EngineRow, type RowResult } from '../../src/engine/engine.js'
import { petlModule } from '../../src/petl/kinds.js'
import { elementCount } from '../../src/petl/module.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { readPrototype, serializePrototype } from '../../src/petl/prototype-file.js'
import { distance, temporaryDirectory, testProvider } from '../material.js'
import { directoryOf, type ExpectedRow, expectedRows, texts, tinyBackbones, wave } from './tiny.js'

async function served(
  backbone: Backbone,
  prototype: Prototype | undefined,
  rows: readonly ExpectedRow[],
): Promise<readonly RowResult[]> {
  const bitset = new Uint8Array((prototype?.layers ?? 0) * (prototype?.maskBytes ?? 0)).fill(255)
  const engine = await Engine.start({
    backbone,
    prototype,
    provider: testProvider,
    numerics: 'float32',
    slots: 1,
    threads: 1,
  })
  const engineRows = rows.map(({ inputIds, tokenTypeIds }): EngineRow => {
    return { inputIds, tokenTypeIds, pooling: 'mean', maskKey: 'all', bitset: () => bitset, withHidden: true }
  })
  try {
    return (await engine.run(engineRows)).rows
  } finally {
    await engine.close()
  }
}

const modules = [
  { kind: 'adapter', bottleneck: 4, activation: 'relu', scaling: 1 },
  { kind: 'lora', rank: 3, alpha: 5 },
] as const

for (const name of tinyBackbones)
  describe(`a tiny ${name} on ${testProvider}`, () => {
    const directory = directoryOf(name)
    const expected = expectedRows(name)

    test('tokenises and truncates texts and pairs as transformers does', async () => {
      const { dims } = await readBackbone(directory)
      const tokenizer = new TextTokenizer(join(directory, 'tokenizer.json'), dims.maxTokens)
      assert.equal(Math.max(...expected.map(({ inputIds }) => inputIds.length)), tokenizer.maxTokens)
      for (const [at, text] of texts.entries()) {
        const { inputIds, tokenTypeIds } = await tokenizer.encode(text)
        assert.deepEqual(inputIds, expected[at]?.inputIds)
        assert.deepEqual(tokenTypeIds, expected[at]?.tokenTypeIds)
      }
    })

    test('computes the hidden states of PyTorch', async () => {
      const rows = await served(await readBackbone(directory), undefined, expected)
      for (const [at, { hidden }] of expected.entries()) {
        const error = distance(hidden, rows[at]?.hidden ?? [])
        assert.ok(error < 1e-4, `row ${at}: error ${error}`)
      }
    })

    for (const module of modules)
      test(`computes the outputs of PyTorch with the module ${module.kind} in every layer`, {
        skip:
          testProvider === 'webgpu' && !process.env.PROPETL_TEST_MODULES && 'takes minutes with a software renderer',
      }, async () => {
        const backbone = await readBackbone(directory)
        const { hiddenSize, layers } = backbone.dims
        const { maskable, unmasked } = petlModule(module, hiddenSize)
        const tensors = new Map(
          [...maskable, ...unmasked].map(({ name, shape }, seed) => [name, wave(elementCount(shape), seed)]),
        )
        const prototype = readPrototype(
          serializePrototype({ backbone: backbone.digest, module, layers, hiddenSize, tensors }),
        )
        const rows = await served(backbone, prototype, expected)
        for (const [at, row] of expected.entries()) {
          const error = distance(row[module.kind], rows[at]?.pooled ?? [])
          assert.ok(error < 1e-4, `row ${at}: error ${error}`)
        }
      })
  })

test('reads a directory of links, as in the Hugging Face cache', async () => {
  const directory = await temporaryDirectory()
  for (const [at, file] of ['config.json', 'tokenizer.json', 'model.safetensors'].entries()) {
    const blob = join(directory, `blob-${at}`)
    await copyFile(join(directoryOf('bert'), file), blob)
    await mkdir(join(directory, 'snapshot'), { recursive: true })
    await symlink(join('..', `blob-${at}`), join(directory, 'snapshot', file))
  }
  const expected = expectedRows('bert')
  const rows = await served(await readBackbone(join(directory, 'snapshot')), undefined, expected)
  for (const [at, { hidden }] of expected.entries()) assert.ok(distance(hidden, rows[at]?.hidden ?? []) < 1e-4)
})
