// Float16 next to float32. These tests run without CUDA: the same graph runs on the CPU, which rounds to float16 after every
// operator.

import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { readBackbone } from '../../src/backbones/backbone.js'
import { serializeSafetensors, tensorFloats } from '../../src/formats/safetensors.js'
import { bytesOf } from '../../src/graph/graph.js'
import { serializeOnnx } from '../../src/graph/onnx.js'
import { fuseNorms, fuseTransposedProducts } from '../../src/graph/passes/fuse.js'
import { toFloat16 } from '../../src/graph/passes/half.js'
import { applyAll } from '../../src/graph/passes/rewrite.js'
import { petlModule } from '../../src/petl/kinds.js'
import { elementCount } from '../../src/petl/module.js'
import { readPrototype, serializePrototype } from '../../src/petl/prototype-file.js'
import { Bank } from '../../src/runtime/bank.js'
import { feedsOf } from '../../src/runtime/feeds.js'
import { bounds, checkFloat16 } from '../../src/runtime/float16-check.js'
import { Float16Session } from '../../src/runtime/float16-session.js'
import { packRows, selectRows, type TokenRow } from '../../src/runtime/packed-rows.js'
import { openSession } from '../../src/runtime/provider-choice.js'
import { poolWeightsName, servingGraph } from '../../src/runtime/serving-graph.js'
import { EngineSession, type SessionOptions } from '../../src/runtime/session.js'
import { copyOf, tensorsOf, wave } from '../backbones/tiny.js'
import { distance } from '../material.js'

/** A token that overflows in float16: its embedding is above 65,504. */
const large = 7
const module = { kind: 'adapter', bottleneck: 4, activation: 'relu', scaling: 1 } as const

/** @param withOverflow whether the vocabulary has that token */
async function tinyOptions(withOverflow = true): Promise<SessionOptions> {
  const directory = await copyOf('bert')
  const tensors = await tensorsOf(directory)
  const [name, table] = [...tensors].find(([tensor]) => tensor.endsWith('word_embeddings.weight')) ?? assert.fail()
  const values = tensorFloats(table.data, name, { ...table, offset: 0, length: table.data.length })
  const width = table.shape[1] as number
  values.subarray(large * width, (large + 1) * width).forEach((_, i, row) => {
    if (withOverflow) row[i] = 1e5 * (i + 1)
  })
  tensors.set(name, { dtype: 'F32', shape: table.shape, data: bytesOf(values) })
  await writeFile(join(directory, 'model.safetensors'), serializeSafetensors({}, Object.fromEntries(tensors)))
  const backbone = await readBackbone(directory)
  const { hiddenSize, layers } = backbone.dims
  const { maskable, unmasked } = petlModule(module, hiddenSize)
  const weights = [...maskable, ...unmasked].map(
    ({ name: tensor, shape }, seed) => [tensor, wave(elementCount(shape), seed)] as const,
  )
  const prototype = readPrototype(
    serializePrototype({ backbone: backbone.digest, module, layers, hiddenSize, tensors: new Map(weights) }),
  )
  return { backbone, prototype, threads: 1, slots: 4 }
}

/** A float16 session on the CPU. */
async function float16OnCpu({ backbone, prototype, slots }: SessionOptions) {
  assert.ok(prototype)
  const { layers, maskBytes } = prototype
  const graph = applyAll(servingGraph(backbone, prototype, { bank: 'uint8', gatherHalf: false }), [
    fuseTransposedProducts,
    fuseNorms,
    toFloat16(new Set([poolWeightsName])),
  ])
  const session = await InferenceSession.create(serializeOnnx(graph), {
    logSeverityLevel: 4,
    extra: { session: { model_external_initializers_file_folder_path: backbone.weightsFolder } },
  })
  const bank = new Bank(slots, layers, maskBytes, 'uint8')
  const sizes: number[] = []
  const part: Float16Session['half'] = {
    load: async (loads) => bank.load(loads),
    holdsAll: (own) => bank.holdsAll(own),
    release: () => session.release(),
    async run(rows, own) {
      sizes.push(rows.rows)
      const used = bank.compact(own)
      const feeds = {
        ...feedsOf(rows),
        bank: new Tensor('uint8', Uint8Array.from(used.words), [used.count, layers, maskBytes]),
        row_slots: new Tensor('int32', used.slots, [own.length]),
      }
      const known = Object.entries(feeds).filter(([name]) => session.inputNames.includes(name))
      const { pooled, hidden } = await session.run(Object.fromEntries(known))
      assert.ok(pooled?.data instanceof Float32Array && hidden?.data instanceof Float32Array)
      return { pooled: pooled.data, hidden: hidden.data }
    },
  }
  return { part, sizes }
}

const rowOf = (ids: readonly number[], pooling: TokenRow['pooling'] = 'mean'): TokenRow => ({
  inputIds: ids,
  tokenTypeIds: ids.map(() => 0),
  pooling,
})

describe('a session in float16', () => {
  test('recomputes in float32 exactly the rows that overflow', async () => {
    const options = await tinyOptions()
    const full = await EngineSession.open('cpu', 'float32', options)
    const { part, sizes } = await float16OnCpu(options)
    const session = new Float16Session('cpu', part, full, options.backbone.dims.hiddenSize)
    const rows = packRows([
      rowOf([2, 11, 12, 3]),
      rowOf([2, large, 3], 'cls'),
      rowOf([2, 13, 3]),
      rowOf([2, large, 9, 3]),
    ])
    const size = (options.prototype?.layers ?? 0) * (options.prototype?.maskBytes ?? 0)
    await session.load({
      slots: [2, 0],
      planes: [1, 1],
      bitsets: Uint8Array.from({ length: 2 * size }, (_, i) => (i * 167 + 11) & 255),
    })
    const slots = Int32Array.of(2, 0, 2, 2)
    const result = await session.run(rows, slots, true)
    const expected = await full.run(rows, slots, true)
    assert.equal(result.recomputed, 2)
    assert.deepEqual(sizes, [4])
    const H = options.backbone.dims.hiddenSize
    for (const row of [1, 3])
      assert.ok(
        distance(result.pooled.subarray(row * H, (row + 1) * H), expected.pooled.subarray(row * H, (row + 1) * H)) <
          1e-5,
      )
    assert.ok(result.pooled.every(Number.isFinite) && result.hidden?.every(Number.isFinite))
    assert.ok(distance(result.hidden ?? [], expected.hidden ?? []) < 0.05)
    assert.notDeepEqual(result.pooled.subarray(0, H), expected.pooled.subarray(0, H))
    await session.release()
  })

  test('runs a batch with a mask of two planes in float32, until its slot has another mask', async () => {
    const options = await tinyOptions()
    const full = await EngineSession.open('cpu', 'float32', options)
    const { part, sizes } = await float16OnCpu(options)
    const session = new Float16Session('cpu', part, full, options.backbone.dims.hiddenSize)
    const size = (options.prototype?.layers ?? 0) * (options.prototype?.maskBytes ?? 0)
    await session.load({ slots: [1], planes: [2], bitsets: new Uint8Array(2 * size).fill(0x5a) })
    const rows = packRows([rowOf([2, 11, 3])])
    const twice = await session.run(rows, Int32Array.of(1), false)
    assert.deepEqual(twice, await full.run(rows, Int32Array.of(1), false))
    assert.deepEqual(sizes, [])
    await session.load({ slots: [1], planes: [1], bitsets: new Uint8Array(size).fill(0x5a) })
    const once = await session.run(rows, Int32Array.of(1), false)
    assert.deepEqual(sizes, [1])
    assert.ok(distance(once.pooled, twice.pooled) > 1e-4)
    await session.release()
  })

  test('is compared with float32 on real texts, and used if it is accurate enough', async () => {
    const options = await tinyOptions(false)
    const full = await EngineSession.open('cpu', 'float32', options)
    const { part } = await float16OnCpu(options)
    const good = await checkFloat16(new Float16Session('cpu', part, full, options.backbone.dims.hiddenSize), options)
    assert.match(good.finding, /float16 differs from float32 by 0\.\d+ % \(at most 1\.000 %\)/)
    assert.equal(good.within, true)
    const off: Float16Session['half'] = {
      ...part,
      run: async (rows, slots, withHidden) => {
        const result = await part.run(rows, slots, withHidden)
        return { ...result, pooled: result.pooled.map((value) => value * (1 + 2 * bounds.fromFloat32)) }
      },
    }
    const bad = await checkFloat16(new Float16Session('cpu', off, full, options.backbone.dims.hiddenSize), options)
    assert.equal(bad.within, false)
    const { hiddenSize } = options.backbone.dims
    const nothing: Float16Session['half'] = {
      ...part,
      run: async (rows) => ({ pooled: new Float32Array(rows.rows * hiddenSize).fill(Number.NaN) }),
    }
    const broken = await checkFloat16(
      new Float16Session('cpu', nothing, full, options.backbone.dims.hiddenSize),
      options,
    )
    assert.deepEqual(broken, { within: false, finding: 'float16 overflows on some texts' })
    await part.release()
    await full.release()
  })
})

test('the CPU rejects float16, and "auto" does not choose it there', async () => {
  const options = await tinyOptions()
  await assert.rejects(openSession({ provider: 'cpu', numerics: 'float16' }, options), {
    code: 'invalid_setting',
    message: /provider "cpu" does not support numerics float16; expected numerics float32, or provider cuda/,
  })
  const { session, choice } = await openSession({ provider: 'cpu', numerics: 'auto' }, options)
  assert.equal(choice.numerics, 'float32')
  await session.release()
})

test('selected rows equal the same rows packed alone', () => {
  const rows = [rowOf([1, 2, 3]), rowOf([4, 5], 'cls'), rowOf([6]), rowOf([7, 8, 9, 10])]
  assert.deepEqual(selectRows(packRows(rows), [3, 1]), packRows([rows[3] ?? assert.fail(), rows[1] ?? assert.fail()]))
})
