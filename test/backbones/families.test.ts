// Compares every family with `transformers` in PyTorch: token ids, hidden states and modules of tiny random models. Their
// weights are float32, float16 or bfloat16, with or without a name prefix (test/fixtures/backbones/make.py).

import assert from 'node:assert/strict'
import { copyFile, mkdir, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import type { ModelType } from '../../src/backbones/families.js'
import { TextTokenizer } from '../../src/backbones/tokenizer.js'
import { bareMaskKey, Engine, type EngineRow, type RowResult } from '../../src/engine/engine.js'
import { Engines } from '../../src/engine/engines.js'
import { serializeSafetensors } from '../../src/formats/safetensors.js'
import type { Prototype } from '../../src/petl/prototype.js'
import { distance, temporaryDirectory, testProvider } from '../material.js'
import {
  changeJson,
  copyOf,
  directoryOf,
  type ExpectedRow,
  expectedRows,
  type Fields,
  prototypeFor,
  tensorsOf,
  texts,
  tinyBackbones,
  tinyVariants,
} from './tiny.js'

const startEngine = (backbone: Backbone, prototype?: Prototype): Promise<Engine> =>
  Engine.start({ backbone, prototype, provider: testProvider, numerics: 'float32', slots: 2, threads: 1 })

/** A row with a mask of ones for the prototype, or a bare row. */
function engineRow({ inputIds, tokenTypeIds }: ExpectedRow, prototype?: Prototype, bare = false): EngineRow {
  const bytes = (prototype?.layers ?? 0) * (prototype?.maskBytes ?? 0)
  const bitset = () => new Uint8Array(bytes).fill(bare ? 0 : 255)
  const maskKey = bare ? bareMaskKey : 'all'
  return { inputIds, tokenTypeIds, pooling: 'mean', maskKey, bare, bitset, withHidden: true }
}

async function bareRows(backbone: Backbone, expected: readonly ExpectedRow[]): Promise<readonly RowResult[]> {
  const engine = await startEngine(backbone)
  try {
    return (await engine.run(expected.map((row) => engineRow(row)))).rows
  } finally {
    await engine.close()
  }
}

/** All rows with the mask of a module, and then every second row bare. */
async function moduleRows(backbone: Backbone, module: Module, expected: readonly ExpectedRow[]) {
  const prototype = prototypeFor(backbone, module)
  const engine = await startEngine(backbone, prototype)
  try {
    const { rows: masked } = await engine.run(expected.map((row) => engineRow(row, prototype)))
    const { rows: mixed } = await engine.run(expected.map((row, at) => engineRow(row, prototype, at % 2 === 0)))
    return { masked, mixed }
  } finally {
    await engine.close()
  }
}

/** A function that computes its result at the first call. */
function once<T>(compute: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined
  return () => {
    result ??= compute()
    return result
  }
}

const modules = [
  { kind: 'adapter', bottleneck: 4, activation: 'relu', scaling: 1 },
  { kind: 'lora', rank: 3, alpha: 5 },
] as const

/** Kinds whose modules do something even with a mask of zeros: biases, and keys that receive attention. */
const allModules = [...modules, { ...modules[0], activation: 'gelu' }, { kind: 'prefix', length: 5 }] as const
type Module = (typeof allModules)[number]

/** A software renderer would take minutes. With PROPETL_TEST_MODULES=1 all tests run on any device. */
const skip = testProvider === 'webgpu' && !process.env.PROPETL_TEST_MODULES && 'set PROPETL_TEST_MODULES=1 to run it'

for (const name of [...tinyBackbones, ...tinyVariants])
  describe(`a tiny ${name} on ${testProvider}`, () => {
    const directory = directoryOf(name)
    const expected = expectedRows(name)
    const bareOutputs = once(async () => bareRows(await readBackbone(directory), expected))

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

    // These variants have no operators that deberta-v2 lacks.
    const covered = name === 'deberta-v2-c2p' || name === 'deberta-v2-p2c'
    test('computes the hidden states of PyTorch', { skip: covered && skip }, async () => {
      const rows = await bareOutputs()
      for (const [at, { hidden }] of expected.entries()) {
        const error = distance(hidden, rows[at]?.hidden ?? [])
        assert.ok(error < 1e-4, `row ${at}: error ${error}`)
      }
    })

    // disentangled.test.ts shows that a prefix does not fit DeBERTa.
    for (const module of allModules.filter(({ kind }) => kind !== 'prefix' || !name.startsWith('deberta'))) {
      const outputs = once(async () => moduleRows(await readBackbone(directory), module, expected))

      const { kind } = module
      if (kind !== 'prefix' && modules.some((each) => each === module))
        test(`computes the outputs of PyTorch with the module ${kind} in every layer`, { skip }, async () => {
          const { masked } = await outputs()
          for (const [at, row] of expected.entries()) {
            const error = distance(row[kind], masked[at]?.pooled ?? [])
            assert.ok(error < 1e-4, `row ${at}: error ${error}`)
          }
        })

      test(`computes bare rows next to masked rows as the bare backbone does: ${JSON.stringify(module)}`, {
        skip,
      }, async () => {
        const bare = await bareOutputs()
        const { masked, mixed } = await outputs()
        for (const [at, { pooled, hidden }] of mixed.entries()) {
          const [own, other] = at % 2 === 0 ? [bare[at], masked[at]] : [masked[at], bare[at]]
          assert.ok(distance(pooled, own?.pooled ?? []) < 1e-5, `row ${at}`)
          assert.ok(distance(hidden ?? [], own?.hidden ?? []) < 1e-5, `row ${at}`)
          assert.ok(distance(pooled, other?.pooled ?? []) > 1e-3, `row ${at}`)
        }
      })
    }
  })

test(`two engines on ${testProvider} that run at the same time with their own banks give the outputs of PyTorch`, async () => {
  const backbone = await readBackbone(directoryOf('bert'))
  const prototype = prototypeFor(backbone, modules[0])
  const options = { provider: testProvider, numerics: 'float32', slots: 2, threads: 2, runTimeoutMs: 600_000 } as const
  const lost = () => assert.fail('an engine was lost')
  const report = { lost, replaced: lost, notReplaced: lost }
  const engines = await Engines.start(2, { ...options, backbone, prototype }, () => report)
  const expected = expectedRows('bert')
  try {
    // One engine begins with bare rows and the other with masked rows, so that their slots hold different masks.
    const ran = engines.all.map(async (engine, at) => {
      for (let batch = 0; batch < 4; batch++) {
        const bare = (batch + at) % 2 === 0
        const { rows } = await engine.run(expected.map((row) => engineRow(row, prototype, bare)))
        for (const [index, { hidden, adapter }] of expected.entries()) {
          const { pooled, hidden: found = [] } = rows[index] ?? assert.fail('a row is missing')
          const error = bare ? distance(hidden, found) : distance(adapter, pooled)
          assert.ok(error < 1e-4, `engine ${at}, batch ${batch}, row ${index}: error ${error}`)
        }
      }
    })
    await Promise.all(ran)
  } finally {
    await engines.close()
  }
})

test('reads a directory of links, as in the Hugging Face cache', { skip }, async () => {
  const directory = await temporaryDirectory()
  for (const [at, file] of ['config.json', 'tokenizer.json', 'model.safetensors'].entries()) {
    const blob = join(directory, `blob-${at}`)
    await copyFile(join(directoryOf('bert'), file), blob)
    await mkdir(join(directory, 'snapshot'), { recursive: true })
    await symlink(join('..', `blob-${at}`), join(directory, 'snapshot', file))
  }
  const expected = expectedRows('bert')
  const rows = await bareRows(await readBackbone(join(directory, 'snapshot')), expected)
  for (const [at, { hidden }] of expected.entries()) assert.ok(distance(hidden, rows[at]?.hidden ?? []) < 1e-4)
})

/** The hidden states of all texts with a config that has other fields. */
async function hiddenStates(name: ModelType, change: (fields: Fields) => Fields): Promise<readonly Float32Array[]> {
  const directory = await copyOf(name)
  await changeJson(directory, 'config.json', change)
  const rows = await bareRows(await readBackbone(directory), expectedRows(name))
  return rows.map(({ hidden }) => hidden ?? assert.fail('no hidden states'))
}

const fieldsWithout = (fields: Fields, ...names: readonly string[]): Fields =>
  Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)))

/** Configs with the same meaning as those of the fixtures. */
const otherSpellings: readonly (readonly [what: string, name: ModelType, change: (fields: Fields) => Fields])[] = [
  [
    'a ModernBERT config with the older names of thetas and kinds of layers',
    'modernbert',
    (fields) => ({
      ...fieldsWithout(fields, 'layer_types', 'rope_parameters', 'dtype'),
      global_attn_every_n_layers: 3,
      global_rope_theta: 500,
      local_rope_theta: 20,
      position_embedding_type: 'absolute',
      torch_dtype: 'bfloat16',
    }),
  ],
  [
    'a GTE config with theta and scaling in separate fields',
    'gte',
    (fields) => ({
      ...fieldsWithout(fields, 'rope_parameters', 'dtype'),
      rope_theta: 400,
      rope_scaling: { type: 'linear', factor: 4 ** (2 / 8) },
      position_embedding_type: 'rope',
      torch_dtype: 'float16',
    }),
  ],
  [
    'a GTE config with NTK scaling',
    'gte',
    (fields) => ({
      ...fieldsWithout(fields, 'rope_parameters'),
      rope_theta: 100,
      rope_scaling: { type: 'ntk', factor: 4 },
    }),
  ],
  [
    'a Nomic BERT config with the names of GPT-2',
    'nomic_bert',
    () => ({
      model_type: 'nomic_bert',
      activation_function: 'swiglu',
      vocab_size: 90,
      n_embd: 32,
      n_head: 4,
      n_inner: 40,
      n_layer: 2,
      n_positions: 96,
      max_trained_positions: 24,
      layer_norm_epsilon: 1e-12,
      rotary_emb_base: 50,
      rotary_scaling_factor: null,
      type_vocab_size: 2,
      prenorm: false,
      qkv_proj_bias: false,
      mlp_fc1_bias: false,
      mlp_fc2_bias: false,
    }),
  ],
  ['a CamemBERT, which is a RoBERTa', 'roberta', (fields) => ({ ...fields, model_type: 'camembert' })],
]
for (const [what, name, change] of otherSpellings)
  test(`reads ${what}`, { skip }, async () => {
    const found = await hiddenStates(name, change)
    for (const [at, { hidden }] of expectedRows(name).entries()) assert.ok(distance(hidden, found[at] ?? []) < 1e-4)
  })

test('reads the directory of a GTE model from before transformers had the family', { skip }, async () => {
  const directory = await copyOf('gte')
  await changeJson(directory, 'config.json', (fields) => ({
    ...fieldsWithout(fields, 'rope_parameters'),
    model_type: 'new',
    rope_theta: 400,
    rope_scaling: { type: 'linear', factor: 4 ** (2 / 8) },
  }))
  const tensors = Array.from(await tensorsOf(directory), ([name, tensor]) => [name.replace(/^gte\./, 'new.'), tensor])
  await writeFile(join(directory, 'model.safetensors'), serializeSafetensors({}, Object.fromEntries(tensors)))
  const rows = await bareRows(await readBackbone(directory), expectedRows('gte'))
  for (const [at, { hidden }] of expectedRows('gte').entries())
    assert.ok(distance(hidden, rows[at]?.hidden ?? []) < 1e-4)
})

test('a local_rope_theta of null means the theta of global layers', { skip }, async () => {
  const older = { rope_parameters: null, global_rope_theta: 500 }
  const [absent, same] = await Promise.all([
    hiddenStates('modernbert', (fields) => ({ ...fields, ...older, local_rope_theta: null })),
    hiddenStates('modernbert', (fields) => ({ ...fields, ...older, local_rope_theta: 500 })),
  ])
  for (const [at, hidden] of absent.entries()) assert.deepEqual(hidden, same[at])
})

test('the window of local attention and both thetas change the hidden states of long texts', { skip }, async () => {
  const expected = expectedRows('modernbert')
  const longest = expected.findIndex(({ inputIds }) => inputIds.length === 64)
  const theta = (kind: string) => (fields: Fields) => {
    const kinds = fields.rope_parameters as Readonly<Record<string, Fields>>
    return { ...fields, rope_parameters: { ...kinds, [kind]: { ...kinds[kind], rope_theta: 100 } } }
  }
  const changes = [
    (fields: Fields) => ({ ...fields, local_attention: 10 }),
    theta('full_attention'),
    theta('sliding_attention'),
  ]
  for (const change of changes) {
    const found = await hiddenStates('modernbert', change)
    assert.ok(distance(expected[longest]?.hidden ?? [], found[longest] ?? []) > 1e-2)
  }
})
