// Model directories as users have them: weights in several files, and files that are missing, in another format, or Git
// LFS pointers.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { copyFile, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type Backbone, readBackbone } from '../../src/backbones/backbone.js'
import { Engine } from '../../src/engine/engine.js'
import { serializeSafetensors } from '../../src/formats/safetensors.js'
import { loadModel, loadPrototypeFor } from '../../src/learn/model.js'
import type { Numerics } from '../../src/runtime/numerics.js'
import { distance, masksDir, modelDir, temporaryDirectory } from '../material.js'
import { cli, failedStart } from '../server-process.js'
import { changeJson, copyOf, directoryOf, expectedRows, shardedCopyOf, tensorsOf } from './tiny.js'

const pointer = `version https://git-lfs.github.com/spec/v1\noid sha256:${'4d'.repeat(32)}\nsize 90868376\n`
const sha256 = (bytes: string | Uint8Array) => createHash('sha256').update(bytes).digest('hex')

/** Hidden states of the fixture's texts, computed on the CPU. */
async function hiddenStates(backbone: Backbone, numerics: Numerics): Promise<readonly Float32Array[]> {
  const options = { backbone, prototype: undefined, provider: 'cpu', numerics, slots: 1, threads: 1 } as const
  const engine = await Engine.start(options)
  try {
    const rows = expectedRows('bert').map(({ inputIds, tokenTypeIds }) => {
      return {
        inputIds,
        tokenTypeIds,
        pooling: 'mean',
        maskKey: '',
        bitset: () => new Uint8Array(),
        withHidden: true,
      } as const
    })
    return (await engine.run(rows)).rows.map(({ hidden }) => hidden ?? assert.fail('hidden states were asked for'))
  } finally {
    await engine.close()
  }
}

describe('weights in several files', () => {
  test('give the same hidden states as one file, in float32 and in int8', async () => {
    const { directory } = await shardedCopyOf('bert', 3)
    const backbone = await readBackbone(directory)
    for (const [at, hidden] of (await hiddenStates(backbone, 'float32')).entries())
      assert.ok(distance(hidden, expectedRows('bert')[at]?.hidden ?? []) < 1e-4)
    const whole = await readBackbone(directoryOf('bert'))
    assert.deepEqual(await hiddenStates(backbone, 'int8'), await hiddenStates(whole, 'int8'))
  })

  test('are read through links to files in several folders', async () => {
    const { directory, shards } = await shardedCopyOf('bert', 3)
    for (const [at, shard] of shards.entries()) {
      const folder = join(directory, 'blobs', String(at % 2))
      await mkdir(folder, { recursive: true })
      await rename(join(directory, shard), join(folder, `blob-${at}`))
      await symlink(join(folder, `blob-${at}`), join(directory, shard))
    }
    const [hidden] = await hiddenStates(await readBackbone(directory), 'float32')
    assert.ok(distance(hidden ?? [], expectedRows('bert')[0]?.hidden ?? []) < 1e-4)
  })

  test('have a digest of the digests of the files, in the order of their names', async () => {
    const { directory, shards } = await shardedCopyOf('bert', 12)
    const digests = await Promise.all(shards.map(async (shard) => sha256(await readFile(join(directory, shard)))))
    const expected = sha256(digests.map((digest) => `${digest}\n`).join(''))
    assert.equal((await readBackbone(directory)).digest, expected)
    await changeJson(directory, 'model.safetensors.index.json', ({ weight_map }) => ({
      weight_map: Object.fromEntries(Object.entries(weight_map as object).reverse()),
    }))
    assert.equal((await readBackbone(directory)).digest, expected)
  })

  test('have the digest of the file if there is only one file', async () => {
    const { directory, shards } = await shardedCopyOf('bert', 1)
    const [only = ''] = shards
    assert.equal((await readBackbone(directory)).digest, sha256(await readFile(join(directory, only))))
  })

  test('are ignored if the directory also has a model.safetensors', async () => {
    const { directory } = await shardedCopyOf('bert', 2)
    const file = join(directoryOf('bert'), 'model.safetensors')
    await copyFile(file, join(directory, 'model.safetensors'))
    await writeFile(join(directory, 'model.safetensors.index.json'), 'damaged')
    assert.equal((await readBackbone(directory)).digest, sha256(await readFile(file)))
  })

  const index = 'model\\.safetensors\\.index\\.json: '
  const hostile: [what: string, index: string, message: RegExp][] = [
    ['invalid JSON', '{"weight_map": ', new RegExp(`${index}the file is not JSON`)],
    ['an array instead of an object', '[]', new RegExp(`${index}the file is \\[\\]; expected a JSON object`)],
    ['no weight_map', '{"metadata": {}}', new RegExp(`${index}"weight_map" is missing`)],
    [
      'a weight_map that is a list',
      '{"weight_map": ["a"]}',
      new RegExp(`${index}"weight_map" is missing; expected an object`),
    ],
    [
      'more than 10 MB',
      `{"weight_map": {}}${' '.repeat(10_000_000)}`,
      new RegExp(`${index}the file has 10000018 bytes`),
    ],
    [
      'too many values',
      JSON.stringify({ weight_map: {}, a: Array(300_000).fill(0) }),
      /the JSON has more than 200000 values/,
    ],
    [
      'more than a thousand files',
      JSON.stringify({
        weight_map: Object.fromEntries(Array.from({ length: 1_001 }, (_, n) => [n, `${n}.safetensors`])),
      }),
      new RegExp(`${index}the index names 1001 files; expected at most 1000`),
    ],
    ...[
      '../x.safetensors',
      '/x.safetensors',
      'x/y.safetensors',
      'x\\\\y.safetensors',
      '..',
      '',
      'x.bin',
      '.safetensors',
    ].map((name): [string, string, RegExp] => [
      `the file ${name}`,
      `{"weight_map": {"t": "${name}"}}`,
      new RegExp(
        `${index}the file of tensor "t" is ".*"; expected the name of a \\.safetensors file in the same directory`,
      ),
    ]),
    ['a number instead of a file name', '{"weight_map": {"t": 7}}', /the file of tensor "t" is of type number/],
    [
      'a tensor named __proto__',
      '{"weight_map": {"__proto__": "../x"}}',
      /the file of tensor "__proto__" is "\.\.\/x"/,
    ],
    [
      'a file that is missing',
      '{"weight_map": {"t": "lost.safetensors"}}',
      /lost\.safetensors is missing\. Download it with the other files of the model/,
    ],
    ['an empty weight_map', '{"weight_map": {}}', /index\.json: "weight_map" names no file/],
    ['a Git LFS pointer as its content', pointer, /index\.json is a Git LFS pointer/],
  ]
  for (const [what, text, message] of hostile)
    test(`are rejected because of an index with ${what}`, async () => {
      const { directory } = await shardedCopyOf('bert', 1)
      await writeFile(join(directory, 'model.safetensors.index.json'), text)
      await assert.rejects(readBackbone(directory), { code: 'invalid_backbone', message })
    })

  test('are rejected with the name of a file that lacks a tensor, is damaged, is a folder or is a Git LFS pointer', async () => {
    const { directory, shards } = await shardedCopyOf('bert', 2)
    const [, second = ''] = shards
    const rejected = (message: RegExp) => assert.rejects(readBackbone(directory), { code: 'invalid_backbone', message })
    const path = join(directory, second)
    const whole = await readFile(path)
    for (const cut of [whole.length - 1, Math.floor(whole.length / 2), 200]) {
      await writeFile(path, whole.subarray(0, cut))
      await rejected(/model-00002-of-00002\.safetensors: .*bytes/)
    }
    await writeFile(path, serializeSafetensors({}, {}))
    await rejected(
      /index\.json: tensor "bert\..+" is missing in model-00002-of-00002\.safetensors, the file that the index names/,
    )
    await writeFile(path, Buffer.alloc(100, 0xff))
    await rejected(/model-00002-of-00002\.safetensors: the header length is \d+ bytes/)
    await writeFile(path, pointer)
    await rejected(/model-00002-of-00002\.safetensors is a Git LFS pointer.*Run "git lfs pull"/)
    await rm(path)
    await mkdir(path)
    await rejected(/model-00002-of-00002\.safetensors is not a file/)
  })

  test('are rejected if the index lacks a tensor that the config requires', async () => {
    const { directory } = await shardedCopyOf('bert', 2)
    const name = 'bert.encoder.layer.1.output.dense.bias'
    await changeJson(directory, 'model.safetensors.index.json', ({ weight_map }) => ({
      weight_map: Object.fromEntries(Object.entries(weight_map as object).filter(([tensor]) => tensor !== name)),
    }))
    await assert.rejects(hiddenStates(await readBackbone(directory), 'float32'), {
      code: 'invalid_backbone',
      message:
        /model\.safetensors\.index\.json: tensor "bert\.encoder\.layer\.1\.output\.dense\.bias" \[32\] is missing/,
    })
  })
})

test('weights without the word embeddings, which a head of the checkpoint shares, are rejected by the name of the tensor', async () => {
  const directory = await copyOf('bert')
  const tensors = await tensorsOf(directory)
  const name = 'bert.embeddings.word_embeddings.weight'
  const shared = tensors.get(name) ?? assert.fail()
  tensors.delete(name)
  tensors.set('cls.predictions.decoder.weight', shared)
  await writeFile(join(directory, 'model.safetensors'), serializeSafetensors({}, Object.fromEntries(tensors)))
  await assert.rejects(hiddenStates(await readBackbone(directory), 'float32'), {
    code: 'invalid_backbone',
    message: /model\.safetensors: tensor "bert\.embeddings\.word_embeddings\.weight" \[90, 32\] is missing/,
  })
})

describe('the error says what to do about a model directory', () => {
  const put = (file: string, text: string) => (directory: string) => writeFile(join(directory, file), text)
  const remove = (file: string) => (directory: string) => rm(join(directory, file))
  const replace = (file: string, other: string) => async (directory: string) => {
    await rm(join(directory, file))
    await writeFile(join(directory, other), 'PK\u0003\u0004')
  }
  const onlyGguf = async (directory: string) => {
    for (const file of ['config.json', 'tokenizer.json', 'model.safetensors']) await rm(join(directory, file))
    await writeFile(join(directory, 'model.gguf'), 'GGUF')
  }
  const download = 'Download it with the other files of the model'
  const convert = 'Save the model with the Python package transformers: AutoModel\\.from_pretrained'
  const tokenize = 'Save the tokenizer with the Python package transformers: AutoTokenizer\\.from_pretrained'
  const lfs = 'is a Git LFS pointer, not the file itself\\. Run "git lfs pull" in its repository, or download the file'
  const cases: [what: string, spoil: (directory: string) => Promise<unknown>, message: string][] = [
    ['without config.json', remove('config.json'), `config\\.json is missing\\. ${download}`],
    ['with a Git LFS pointer as config.json', put('config.json', pointer), `config\\.json ${lfs}`],
    ['without weights', remove('model.safetensors'), `model\\.safetensors is missing\\. ${convert}`],
    ['with a Git LFS pointer as weights', put('model.safetensors', pointer), `model\\.safetensors ${lfs}`],
    [
      'with an empty weights file',
      put('model.safetensors', ''),
      'model\\.safetensors: the file has only 0 bytes; a safetensors file starts with',
    ],
    ...[
      'pytorch_model.bin',
      'pytorch_model.bin.index.json',
      'pytorch_model-00001-of-00002.bin',
      'model.pt',
      'tf_model.h5',
      'flax_model.msgpack',
      'model.ckpt.index',
      'model.Q4_K_M.gguf',
      'model.onnx',
      'onnx',
      'adapter_model.safetensors',
    ].map((other): [string, (directory: string) => Promise<unknown>, string] => [
      `with only ${other}`,
      replace('model.safetensors', other),
      `model\\.safetensors is missing, and ${other} cannot be used instead\\. ${convert}`,
    ]),
    ['without tokenizer.json', remove('tokenizer.json'), `tokenizer\\.json is missing\\. ${tokenize}`],
    ['with a Git LFS pointer as tokenizer.json', put('tokenizer.json', pointer), `tokenizer\\.json ${lfs}`],
    [
      'with a damaged tokenizer.json',
      put('tokenizer.json', '{}'),
      `tokenizer\\.json cannot be loaded: Model missing.*\\. Download it again`,
    ],
    [
      'with only a GGUF file',
      onlyGguf,
      'config\\.json is missing, and model\\.gguf cannot be used instead\\. Use the directory of the original model',
    ],
    ...['vocab.txt', 'vocab.json', 'sentencepiece.bpe.model', 'spm.model', 'tokenizer_config.json'].map(
      (other): [string, (directory: string) => Promise<unknown>, string] => [
        `with only ${other}`,
        replace('tokenizer.json', other),
        `tokenizer\\.json is missing, and ${other} cannot be used instead\\. ${tokenize}`,
      ],
    ),
    [
      'with a broken link',
      async (directory) => {
        await rm(join(directory, 'model.safetensors'))
        await symlink('../gone', join(directory, 'model.safetensors'))
      },
      'model\\.safetensors is a link to a file that does not exist\\. Download it again',
    ],
    [
      'with a folder as config.json',
      async (directory) => {
        await rm(join(directory, 'config.json'))
        await mkdir(join(directory, 'config.json'))
      },
      'config\\.json is not a file',
    ],
    [
      'that does not exist',
      (directory) => rm(directory, { recursive: true }),
      ' is not a readable directory\\. Expected a directory with config\\.json, tokenizer\\.json and model\\.safetensors',
    ],
  ]
  for (const [what, spoil, message] of cases)
    test(what, async () => {
      const directory = await copyOf('bert')
      await spoil(directory)
      await assert.rejects(loadModel(directory), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'invalid_backbone')
        assert.match(error.message, new RegExp(`^${directory}.*${message}`))
        assert.doesNotMatch(error.message, /ENOENT|ENOTDIR/)
        return true
      })
    })

  test('that is a file', async () => {
    const file = join(await temporaryDirectory(), 'model')
    await writeFile(file, '')
    await assert.rejects(loadModel(file), { code: 'invalid_backbone', message: /model is not a readable directory/ })
  })

  test('with a prototype that is missing or is a Git LFS pointer', async () => {
    const directory = await copyOf('bert')
    const backbone = await readBackbone(directory)
    const rejected = (message: RegExp) =>
      assert.rejects(loadPrototypeFor(backbone), { code: 'invalid_prototype', message })
    await rejected(/prototype\.safetensors is missing\. .* Train one with "propetl train --model-dir <directory>"/)
    await writeFile(join(directory, 'prototype.safetensors'), pointer)
    await rejected(/prototype\.safetensors is a Git LFS pointer/)
  })

  test('by every command, in the last line of its output and with exit code 1', async () => {
    const directory = await temporaryDirectory()
    for (const file of ['config.json', 'model.safetensors', 'prototype.safetensors'])
      await symlink(join(modelDir, file), join(directory, file))
    await writeFile(join(directory, 'tokenizer.json'), pointer)
    const data = join(directory, 'data.csv')
    await writeFile(data, 'text,label\ngood,p\nbad,n\n')
    const commands = [
      ['serve', '--port', '0', '--provider', 'cpu', '--data-dir', join(directory, 'data')],
      ['learn', data, '--out', join(directory, 'out.safetensors')],
      ['train', data],
      ['evaluate', join(masksDir, 'sst2.safetensors'), data],
    ]
    const rejections = await Promise.all(
      commands.map((command) => {
        const args = [cli, ...command, '--model-dir', directory]
        return failedStart(spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] }))
      }),
    )
    const expected =
      `${directory}/tokenizer.json is a Git LFS pointer, not the file itself. ` +
      'Run "git lfs pull" in its repository, or download the file.\n'
    for (const [at, { code, output }] of rejections.entries()) {
      assert.equal(code, 1)
      const who = commands[at]?.[0] === 'serve' ? 'the server did not start' : 'propetl'
      assert.ok(`\n${output}`.endsWith(`\n${who}: ${expected}`), output)
    }
  })
})
