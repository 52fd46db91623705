// Directories of sentence-transformers: their settings, and vectors that agree with those of that package.

import assert from 'node:assert/strict'
import { cp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readBackbone } from '../../src/backbones/backbone.js'
import type { ModelType } from '../../src/backbones/families.js'
import { TextTokenizer } from '../../src/backbones/tokenizer.js'
import { embeddings } from '../../src/commands/embeddings.js'
import { defaultPooling, defaultTextPrefix, loadModelForTraining } from '../../src/learn/model.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { distance, root, temporaryDirectory } from '../material.js'
import { put, serveAny } from '../server-process.js'
import { changeJson, copyOf, directoryOf, type Fields } from './tiny.js'

const fixtures = join(root, 'test/fixtures/sentence-transformers')
const names = ['mean', 'cls-dense', 'max', 'last-lower'] as const
type Name = (typeof names)[number]

/** The directory of a fixture, with the files of its backbone. */
async function directoryFor(name: Name): Promise<string> {
  const fixture = join(fixtures, name)
  const directory = await temporaryDirectory()
  await cp(fixture, directory, { recursive: true })
  const backbone = (await readFile(join(fixture, 'backbone.txt'), 'utf8')).trim() as ModelType
  const [{ path = '' } = {}] = JSON.parse(await readFile(join(fixture, 'modules.json'), 'utf8')) as { path?: string }[]
  for (const file of ['config.json', 'tokenizer.json', 'model.safetensors'])
    await cp(join(directoryOf(backbone), file), join(directory, path, file))
  return directory
}

interface Expected {
  readonly text: string
  readonly vector: readonly number[]
}

describe('a directory of sentence-transformers', () => {
  for (const name of names)
    test(`gives the vectors of that package: ${name}`, async () => {
      const directory = await directoryFor(name)
      const out = join(await temporaryDirectory(), 'embeddings.safetensors')
      await embeddings({ modelDir: directory, out })
      const dataDir = await temporaryDirectory()
      const server = await serveAny('--model', directory, '--data-dir', dataDir, '--engines', '1', '--threads', '1')
      assert.equal((await put(server.url, 'embeddings', await readFile(out))).status, 201)
      const expected = JSON.parse(await readFile(join(fixtures, name, 'expected.json'), 'utf8')) as Expected[]
      const response = await fetch(`${server.url}/tasks/embeddings/predict`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs: expected.map(({ text }) => text), truncate: true }),
      })
      const { predictions } = (await response.json()) as { predictions: { embedding: number[] }[] }
      for (const [at, { text, vector }] of expected.entries()) {
        const difference = distance(predictions[at]?.embedding ?? [], vector)
        assert.ok(difference < 1e-4, `${text}: the vectors differ by ${difference}`)
      }
      server.process.kill('SIGKILL')
      await server.exit
    })

  test('gives new tasks their pooling, their maximum length and their text prefix', async () => {
    const expected: [Name, string, number, string | undefined][] = [
      ['mean', 'mean', 16, 'how: '],
      ['cls-dense', 'cls', 12, undefined],
      ['max', 'max', 150, undefined],
      ['last-lower', 'last', 20, undefined],
    ]
    for (const [name, pooling, length, prefix] of expected) {
      const { backbone, tokenizer } = await loadModelForTraining(await directoryFor(name))
      assert.equal(defaultPooling(backbone), pooling)
      assert.equal(tokenizer.maxTokens, length)
      assert.equal(defaultTextPrefix(backbone), prefix)
    }
    const plain = await loadModelForTraining(await copyOf('mpnet'))
    assert.equal(defaultPooling(plain.backbone), 'mean')
    assert.equal(plain.tokenizer.maxTokens, 128)
  })

  test('cuts texts at its maximum length, and converts them to lower case where it says so', async () => {
    const backbone = await readBackbone(await directoryFor('last-lower'))
    const tokenizer = await TextTokenizer.open(backbone)
    const [upper, lower] = [await tokenizer.encode({ text: 'A FILM' }), await tokenizer.encode({ text: 'a film' })]
    assert.deepEqual(upper.inputIds, lower.inputIds)
    assert.equal((await tokenizer.encode({ text: 'a film '.repeat(50) })).inputIds.length, 20)
  })

  test('gives its embeddings the prompt that is named', async () => {
    const modelDir = await directoryFor('mean')
    const out = join(await temporaryDirectory(), 'embeddings.safetensors')
    const prefix = async (flags: { prompt?: string; textPrefix?: string }) => {
      await embeddings({ modelDir, out, ...flags })
      return readTaskFile(await readFile(out)).textPrefix
    }
    assert.equal(await prefix({}), 'how: ')
    assert.equal(await prefix({ prompt: 'query' }), 'how: ')
    assert.equal(await prefix({ prompt: 'document' }), undefined)
    assert.equal(await prefix({ textPrefix: 'why: ' }), 'why: ')
    await assert.rejects(prefix({ prompt: 'title' }), {
      code: 'invalid_setting',
      message: /--prompt "title": the directory has no prompt of that name; expected document \| query/,
    })
  })
})

describe('the error names what is not supported in a directory of sentence-transformers', () => {
  type Spoil = (directory: string) => Promise<unknown>
  const modules =
    (...list: unknown[]): Spoil =>
    (directory) =>
      writeFile(join(directory, 'modules.json'), JSON.stringify(list))
  const module = (type: string, path: string) => ({ type: `sentence_transformers.models.${type}`, path })
  const json =
    (file: string, change: (fields: Fields) => Fields): Spoil =>
    (directory) =>
      changeJson(directory, file, change)
  const pooling = (change: Fields) => json('1_Pooling/config.json', (fields) => ({ ...fields, ...change }))
  const dense = (change: Fields) => json('2_Dense/config.json', (fields) => ({ ...fields, ...change }))
  const only = (mode: string) => json('1_Pooling/config.json', () => ({ [`pooling_mode_${mode}`]: true }))
  const [first, pool, layer] = [
    module('Transformer', '0_Transformer'),
    module('Pooling', '1_Pooling'),
    module('Dense', '2_Dense'),
  ]
  const cases: [what: string, spoil: Spoil, message: RegExp][] = [
    ['no modules', modules(), /modules\.json: expected a list of 1 to 20 modules/],
    ['an object', (directory) => writeFile(join(directory, 'modules.json'), '{}'), /modules\.json: expected a list/],
    ['a module without a path', modules({ type: 'x' }), /module 0 has no "type" or no "path"/],
    ['a path outside', modules(module('Transformer', '../x')), /the path of module 0 is "\.\.\/x"; expected the name/],
    [
      'other code',
      modules({ type: 'custom_st.Transformer', path: '' }),
      /module 0 is "custom_st\.Transformer"; expected/,
    ],
    ['another module', modules(first, module('LSTM', '1_LSTM')), /module 1 is "sentence_transformers\.models\.LSTM"/],
    ['no transformer', modules(module('StaticEmbedding', '')), /module 0 is .*StaticEmbedding/],
    ['two transformers', modules(first, first), /module 1 is a Transformer; expected one Transformer, and it first/],
    ['a dense layer on tokens', modules(first, layer, pool), /module 1 is a Dense layer on tokens/],
    ['two dense layers', modules(first, pool, layer, layer), /module 3 is a second Dense/],
    [
      'an early Normalize',
      modules(first, pool, module('Normalize', ''), layer),
      /module 2 is a Normalize before a Dense/,
    ],
    [
      'the pooling weightedmean',
      only('weightedmean_tokens'),
      /1_Pooling\/config\.json: the pooling "weightedmean" is not supported; expected mean \| cls \| max \| lasttoken/,
    ],
    ['the pooling mean_sqrt_len', only('mean_sqrt_len_tokens'), /the pooling "mean_sqrt_len_tokens" is not supported/],
    ['an unknown pooling', pooling({ pooling_mode: 'median' }), /the pooling "median" is not supported/],
    ['several poolings', pooling({ pooling_mode: ['mean', 'max'] }), /the poolings mean, max are concatenated/],
    ['pooling without the prompt', pooling({ include_prompt: false }), /include_prompt is false; expected true/],
    ['another size', pooling({ word_embedding_dimension: 64 }), /word_embedding_dimension is 64; expected 32/],
    ['another activation', dense({ activation_function: 'torch.nn.Mish' }), /activation_function is "torch\.nn\.Mish"/],
    ['a residual', dense({ use_residual: true }), /use_residual is true; expected false/],
    [
      'a layer of another size',
      dense({ out_features: 9 }),
      /2_Dense\/model\.safetensors: tensor "linear\.weight" \[9,32\]/,
    ],
    [
      'a dense layer in a pickle',
      async (directory) => {
        await rm(join(directory, '2_Dense/model.safetensors'))
        await writeFile(join(directory, '2_Dense/pytorch_model.bin'), 'PK')
      },
      /2_Dense\/model\.safetensors is missing, and pytorch_model\.bin cannot be used instead\. .*SentenceTransformer/,
    ],
    [
      'no config of the pooling',
      (directory) => rm(join(directory, '1_Pooling'), { recursive: true }),
      /1_Pooling is not a readable directory/,
    ],
    [
      'a default prompt that is missing',
      json('config_sentence_transformers.json', () => ({ prompts: { a: 'b' }, default_prompt_name: 'c' })),
      /default_prompt_name is "c"; expected one of the prompts: a/,
    ],
    [
      'a maximum length that is no number',
      json('0_Transformer/sentence_bert_config.json', () => ({ max_seq_length: 'long' })),
      /sentence_bert_config\.json: max_seq_length is "long"; expected a whole number/,
    ],
    ['a folder that is missing', modules(module('Transformer', '7_X')), /7_X is not a readable directory/],
  ]
  for (const [what, spoil, message] of cases)
    test(what, async () => {
      const directory = await directoryFor('cls-dense')
      await spoil(directory)
      await assert.rejects(readBackbone(directory), (error: Error & { code?: string }) => {
        assert.match(error.message, message)
        assert.equal(error.code, 'invalid_backbone')
        return true
      })
    })
})
