import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import { TextTokenizer } from '../../src/backbones/tokenizer.js'
import { Engine, type EngineRow } from '../../src/engine/engine.js'
import { effectiveBitset } from '../../src/petl/combining.js'
import { type ModuleConfig, petlModule } from '../../src/petl/kinds.js'
import { elementCount } from '../../src/petl/module.js'
import { readPrototype, serializePrototype } from '../../src/petl/prototype-file.js'
import type { Combining, Pooling } from '../../src/petl/task.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { logitsOf } from '../../src/tasks/heads.js'
import {
  distance,
  engineRow,
  type GoldenRow,
  golden,
  headOf,
  loadPrototype,
  modelDir,
  taskBytes,
  testProvider,
  textOf,
} from '../material.js'
import { referenceBert } from '../reference-bert.js'

const prototype = loadPrototype()
const tasks = new Map(Object.keys(golden).map((task) => [task, readTaskFile(taskBytes(task))]))
/** A software renderer takes seconds for a row that takes the CPU milliseconds. */
const rowsPerTask = testProvider === 'cpu' ? 32 : 2

/** The first example of every task, then the second of every task, and so on. */
const examples = Array.from({ length: rowsPerTask }, (_, at) =>
  Array.from(tasks, ([name, task]) => {
    const row = golden[name]?.[at] ?? assert.fail(`${name} has too few rows`)
    return { task, row, engineRow: engineRow(row, task, prototype) }
  }),
).flat()

describe(`the engine on ${testProvider}`, () => {
  let backbone: Backbone
  let engine: Engine
  before(async () => {
    backbone = await readBackbone(modelDir)
    engine = await Engine.start({
      backbone,
      prototype,
      provider: testProvider,
      numerics: 'float32',
      slots: 16,
      threads: 2,
    })
  })
  after(() => engine.close())

  const pooledOf = async (rows: readonly EngineRow[]) => (await engine.run(rows)).rows.map(({ pooled }) => pooled)

  test('runs on the requested provider', () => {
    assert.equal(engine.choice.provider, testProvider)
  })

  test('gives the logits of the PyTorch implementation for batches of mixed tasks', async () => {
    // Neighbours in a batch have different tasks and lengths.
    for (let first = 0; first < examples.length; first += 24) {
      const batch = examples.slice(first, first + 24)
      const pooled = await pooledOf(batch.map((example) => example.engineRow))
      batch.forEach(({ task, row }, index) => {
        const logits = logitsOf(headOf(task), pooled[index] ?? new Float32Array())
        assert.ok(distance(logits, row.logits) < 1e-3, `${row.text}: ${logits} against ${row.logits}`)
      })
    }
  })

  test('gives a row the same vector alone, with a longer row, and among many other tasks', async () => {
    const [row, longer] = [
      examples[0]?.engineRow,
      examples.toSorted((a, b) => b.row.input_ids.length - a.row.input_ids.length)[0]?.engineRow,
    ]
    assert.ok(row && longer && row.inputIds.length < longer.inputIds.length)
    const others = Array.from({ length: testProvider === 'cpu' ? 15 : 3 }, (_, i): EngineRow => {
      const bitset = row.bitset().map((byte) => byte ^ (37 * i + 1))
      return {
        ...(examples[i % examples.length]?.engineRow ?? row),
        maskKey: `other-${i}`,
        bitset: () => bitset,
      }
    })
    const [alone] = await pooledOf([row])
    const [padded] = await pooledOf([row, longer])
    const [first] = await pooledOf([row, ...others])
    const last = (await pooledOf([...others, row])).at(-1)
    for (const vector of [padded, first, last]) assert.ok(distance(alone ?? [], vector ?? []) < 1e-5)
  })

  test('gives the same vectors when padding is computed, as the benchmark does for comparison', {
    skip: testProvider !== 'cpu',
  }, async () => {
    const rows = examples.slice(30, 38).map((example) => example.engineRow)
    const padding = await Engine.start({ ...engine.options, computePadding: true })
    const padded = (await padding.run(rows)).rows
    await padding.close()
    const packed = await pooledOf(rows)
    padded.forEach(({ pooled }, index) => {
      assert.ok(distance(pooled, packed[index] ?? []) < 1e-5)
    })
  })

  test('combines masks by the formulas: or, and, add, none; one mask layer or one per layer; all poolings', async () => {
    const hiddenStates = referenceBert(backbone, prototype)
    const row = golden.cola?.toSorted((a, b) => a.input_ids.length - b.input_ids.length)[0] as GoldenRow
    const { maskBytes, layers, layerMasks = new Uint8Array() } = prototype
    const cases: [Combining, number, Pooling][] = [
      ['or', 1, 'cls'],
      ['and', 1, 'mean'],
      ['none', layers, 'mean'],
      ['and', layers, 'cls'],
      ['add', 1, 'mean'],
      ['or', 1, 'max'],
      ['none', 1, 'last'],
    ]
    for (const [combine, maskLayers, pooling] of testProvider === 'cpu'
      ? cases
      : [...cases.slice(0, 2), ...cases.slice(4)]) {
      const bits = Uint8Array.from({ length: maskLayers * maskBytes }, (_, i) => (i * 167 + (i >> 3) * 29 + 11) & 255)
      const on = (set: Uint8Array, at: number, weight: number) =>
        ((set[at * maskBytes + (weight >> 3)] ?? 0) >> (weight & 7)) & 1
      const hidden = hiddenStates(
        row.input_ids,
        Array.from(engineRow(row, tasks.get('cola') as never, prototype).tokenTypeIds),
        (layer, weight) => {
          const own = on(bits, maskLayers === 1 ? 0 : layer, weight)
          const layersOwn = on(layerMasks, layer, weight)
          return { or: own | layersOwn, and: own & layersOwn, add: own + layersOwn, none: own }[combine]
        },
      )
      const expected = hidden[0]?.map((first, i) => {
        const values = hidden.map((token) => token[i] ?? Number.NaN)
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length
        return { mean, cls: first, max: Math.max(...values), last: values.at(-1) }[pooling] ?? Number.NaN
      })
      const task = { mask: { layers: maskLayers, weights: maskBytes * 8, exact: false, bits }, combine }
      const bitset = effectiveBitset(task, prototype)
      const base = engineRow(row, tasks.get('cola') as never, prototype)
      const [pooled] = await pooledOf([{ ...base, pooling, maskKey: `${combine}-${maskLayers}`, bitset: () => bitset }])
      assert.ok(distance(pooled ?? [], expected ?? []) < 1e-4, `${combine}, ${maskLayers} mask layers, ${pooling}`)
    }
  })

  test('returns hidden states for the rows that request them', async () => {
    const [a, b] = [examples[1]?.engineRow, examples[2]?.engineRow]
    assert.ok(a && b)
    const { rows } = await engine.run([a, { ...b, withHidden: true }])
    assert.equal(rows[0]?.hidden, undefined)
    const hidden = rows[1]?.hidden ?? new Float32Array()
    const H = prototype.hiddenSize
    assert.equal(hidden.length, b.inputIds.length * H)
    const mean = Array.from({ length: H }, (_, i) => {
      let sum = 0
      for (let t = 0; t < b.inputIds.length; t++) sum += hidden[t * H + i] ?? 0
      return sum / b.inputIds.length
    })
    assert.ok(distance(mean, rows[1]?.pooled ?? []) < 1e-5)
  })
})

const modules: ModuleConfig[] = [
  { kind: 'lora', rank: 3, alpha: 5 },
  { kind: 'prefix', length: 5 },
]
/** On a software renderer these tests take 90 seconds. */
const skip = testProvider === 'webgpu' && !process.env.PROPETL_TEST_MODULES && 'set PROPETL_TEST_MODULES=1 to run it'
for (const module of modules)
  test(`${module.kind} on ${testProvider}: rows of two tasks in one batch follow the formulas`, { skip }, async () => {
    const backbone = await readBackbone(modelDir)
    const H = backbone.dims.hiddenSize
    const numbers = (count: number, seed: number) =>
      Float32Array.from({ length: count }, (_, i) => 0.3 * Math.sin(1.7 * i + seed))
    const bytes = (count: number, seed: number) =>
      Uint8Array.from({ length: count }, (_, i) => (i * 167 + (i >> 3) * 29 + seed) & 255)
    const { maskable } = petlModule(module, H)
    const prototype = readPrototype(
      serializePrototype({
        backbone: backbone.digest,
        module,
        layers: backbone.dims.layers,
        hiddenSize: H,
        tensors: new Map(maskable.map(({ name, shape }, at) => [name, numbers(elementCount(shape), at)])),
      }),
    )
    const { layers, maskBytes } = prototype
    const engine = await Engine.start({
      backbone,
      prototype,
      provider: testProvider,
      numerics: 'float32',
      slots: 2,
      threads: 2,
    })
    const task = tasks.get('cola') ?? assert.fail('no task cola')
    const shortest = (golden.cola ?? []).toSorted((a, b) => a.input_ids.length - b.input_ids.length)
    const rows = shortest.slice(0, 2).map((row, at): EngineRow => {
      const bitset = bytes(layers * maskBytes, 11 + 57 * at)
      return { ...engineRow(row, task, loadPrototype()), pooling: 'cls', maskKey: String(at), bitset: () => bitset }
    })
    const longer = engineRow(shortest[9] ?? assert.fail(), task, loadPrototype())
    const { rows: served } = await engine.run([
      ...rows,
      { ...longer, maskKey: '0', bitset: rows[0]?.bitset ?? assert.fail() },
    ])
    await engine.close()
    const hiddenStates = referenceBert(backbone, prototype)
    for (const [at, { inputIds, tokenTypeIds, bitset }] of rows.entries()) {
      const mask = bitset()
      const hidden = hiddenStates(
        Array.from(inputIds),
        Array.from(tokenTypeIds),
        (layer, weight) => ((mask[layer * maskBytes + (weight >> 3)] ?? 0) >> (weight & 7)) & 1,
      )
      assert.ok(distance(served[at]?.pooled ?? [], hidden[0] ?? []) < 1e-4)
    }
  })

describe('the tokenizer', () => {
  const tokenizer = new TextTokenizer(join(modelDir, 'tokenizer.json'), 512)

  test('gives the golden token ids', async () => {
    for (const rows of Object.values(golden))
      for (const row of rows) assert.deepEqual((await tokenizer.encode(textOf(row))).inputIds, row.input_ids)
  })
})
