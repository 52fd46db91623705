// Models of the Hugging Face Hub: downloads into the shared cache, and what happens if they fail.

import assert from 'node:assert/strict'
import { lstat, mkdir, readdir, readFile, readlink, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readBackbone } from '../../src/backbones/backbone.js'
import { TextTokenizer } from '../../src/backbones/tokenizer.js'
import { type DownloadProgress, type FetchOptions, fetchModel } from '../../src/hub/fetch-model.js'
import { parseHubName } from '../../src/hub/hub-name.js'
import { readHubSettings } from '../../src/hub/hub-settings.js'
import { directoryOf, shardedCopyOf } from '../backbones/tiny.js'
import { temporaryDirectory } from '../material.js'
import { commit, filesIn, gitIdOf, HubServer, type ServedModel, sendContent, sha256Of } from './hub-server.js'

const name = { repository: 'tiny/bert', revision: 'main' }
const weights = 'model.safetensors'
const folder = 'models--tiny--bert'

async function served(changes: Partial<ServedModel> = {}): Promise<HubServer> {
  const files = await filesIn(directoryOf('bert'))
  files.set('README.md', Buffer.from('# tiny'))
  files.set('pytorch_model.bin', Buffer.from('PK'))
  files.set('onnx/model.onnx', Buffer.from('onnx'))
  return HubServer.start({ name: name.repository, files, large: new Set([weights]), ...changes })
}

interface Fetched {
  readonly cache: string
  readonly fetch: (
    changes?: Partial<FetchOptions> & { readonly offline?: boolean; readonly token?: string },
  ) => Promise<string>
}

async function client({ endpoint }: Pick<HubServer, 'endpoint'>, revision = 'main'): Promise<Fetched> {
  const cache = await temporaryDirectory()
  return {
    cache,
    fetch: ({ offline = false, token, ...options } = {}) =>
      fetchModel({ ...name, revision }, { settings: { endpoint, cache, token, offline }, retryMs: 1, ...options }),
  }
}

const blobs = async (cache: string) => (await readdir(join(cache, folder, 'blobs'))).sort()
const contentOf = ({ model }: HubServer, path: string) => model.files.get(path) ?? assert.fail(`no file ${path}`)

describe('a model of the Hub', () => {
  test('is downloaded into the cache of huggingface_hub, without the files that the server does not need', async () => {
    const hub = await served()
    const { cache, fetch } = await client(hub)
    const progress: DownloadProgress[] = []
    const directory = await fetch({ onProgress: (each) => progress.push(each) })
    assert.equal(directory, join(cache, folder, 'snapshots', commit))
    assert.deepEqual((await readdir(directory)).sort(), ['config.json', weights, 'tokenizer.json'])
    assert.equal(await readFile(join(cache, folder, 'refs/main'), 'utf8'), commit)
    const config = await readlink(join(directory, 'config.json'))
    assert.equal(config, `../../blobs/${gitIdOf(contentOf(hub, 'config.json'))}`)
    assert.equal(await readlink(join(directory, weights)), `../../blobs/${sha256Of(contentOf(hub, weights))}`)
    assert.deepEqual(await readFile(join(directory, weights)), contentOf(hub, weights))
    const total = ['config.json', 'tokenizer.json', weights].reduce((sum, path) => sum + contentOf(hub, path).length, 0)
    assert.deepEqual(progress.at(-1), { done: total, total })
    const backbone = await readBackbone(directory)
    assert.equal(backbone.digest, sha256Of(contentOf(hub, weights)))
    await TextTokenizer.open(backbone)
  })

  test('is not downloaded again, and a new commit downloads only what changed', async () => {
    const hub = await served()
    const { cache, fetch } = await client(hub)
    await fetch()
    hub.requests.length = 0
    await fetch()
    assert.deepEqual(hub.contents, [])
    await rm(join(cache, folder, 'snapshots'), { recursive: true })
    await rm(join(cache, folder, 'blobs', gitIdOf(contentOf(hub, 'config.json'))))
    await fetch()
    assert.deepEqual(hub.contents, ['config.json'])
  })

  for (const revision of ['v1', 'refs/pr/3', commit])
    test(`is found by the revision ${revision}`, async () => {
      const { cache, fetch } = await client(await served(), revision)
      const directory = await fetch()
      assert.equal(directory, join(cache, folder, 'snapshots', commit))
      if (revision !== commit) assert.equal(await readFile(join(cache, folder, 'refs', revision), 'utf8'), commit)
      assert.equal(await fetch({ offline: true }), directory)
    })

  test('with several weights files is downloaded with the files that the index names', async () => {
    const { directory, shards } = await shardedCopyOf('bert', 3)
    const files = await filesIn(directory)
    files.set('consolidated.safetensors', Buffer.from('not needed'))
    const { fetch } = await client(await served({ files, large: new Set(shards) }))
    const fetched = await fetch()
    assert.deepEqual(
      (await readdir(fetched)).sort(),
      ['config.json', ...shards, 'model.safetensors.index.json', 'tokenizer.json'].sort(),
    )
    assert.equal((await readBackbone(fetched)).digest, (await readBackbone(directory)).digest)
  })

  test('of sentence-transformers is downloaded with the files of its modules', async () => {
    const files = await filesIn(directoryOf('bert'))
    const inTransformer = new Map([...files].map(([path, bytes]) => [`0_Transformer/${path}`, bytes]))
    const json = (value: unknown) => Buffer.from(JSON.stringify(value))
    const module = (path: string, type: string) => ({ path, type: `sentence_transformers.models.${type}` })
    inTransformer.set('0_Transformer/sentence_bert_config.json', json({ max_seq_length: 12 }))
    inTransformer.set('modules.json', json([module('0_Transformer', 'Transformer'), module('1_Pooling', 'Pooling')]))
    inTransformer.set('1_Pooling/config.json', json({ word_embedding_dimension: 32, pooling_mode_cls_token: true }))
    inTransformer.set('config_sentence_transformers.json', json({ prompts: { query: 'query: ' } }))
    inTransformer.set('model.safetensors', Buffer.from('not needed'))
    inTransformer.set('prototype.safetensors', Buffer.from('a prototype'))
    const { fetch } = await client(await served({ files: inTransformer, large: new Set() }))
    const backbone = await readBackbone(await fetch())
    assert.equal(backbone.sentence?.pooling, 'cls')
    assert.equal(backbone.dims.maxTokens, 12)
    assert.ok((await readdir(backbone.root)).includes('prototype.safetensors'))
    assert.ok(!(await readdir(backbone.root)).includes('model.safetensors'))
  })

  test('is used from the cache in offline mode, without a request', async () => {
    const hub = await served()
    const { fetch } = await client(hub)
    const directory = await fetch()
    hub.requests.length = 0
    assert.equal(await fetch({ offline: true }), directory)
    assert.deepEqual(hub.requests, [])
  })

  test('is used from the cache with a warning if the Hub fails or cannot be reached', async () => {
    const hub = await served()
    const { fetch } = await client(hub)
    const directory = await fetch()
    const warnings: string[] = []
    const onWarning = (message: string) => warnings.push(message)
    hub.reject = () => 503
    assert.equal(await fetch({ onWarning }), directory)
    hub.close()
    assert.equal(await fetch({ onWarning }), directory)
    assert.match(warnings[0] ?? '', /^127\.0\.0\.1:\d+ responded with 503; using the copy of tiny\/bert in the cache/)
    assert.match(warnings[1] ?? '', /cannot be reached or sent an invalid response: .*ECONNREFUSED/)
  })

  test('gets the token, and the other origin to which large files are redirected does not', async () => {
    const hub = await served({ token: 'hf_secret' })
    const { fetch } = await client(hub)
    await fetch({ token: 'hf_secret' })
    const tokens = (isHub: boolean) =>
      new Set(hub.requests.filter(({ path }) => path.includes('tiny/bert') === isHub).map(({ token }) => token))
    assert.deepEqual([...tokens(true)], ['Bearer hf_secret'])
    assert.deepEqual([...tokens(false)], [undefined])
  })
})

describe('a download continues', () => {
  /** Sends only some bytes and closes the connection. */
  const cut = (response: ServerResponse, bytes: Uint8Array, length: number) => {
    response.writeHead(200, { 'content-length': bytes.length })
    response.write(bytes.subarray(0, length), () => response.destroy())
  }

  test('after the connection was lost, where it stopped', async () => {
    const hub = await served()
    const { fetch } = await client(hub)
    let isFirst = true
    hub.fault = (_, response, path, bytes) => {
      if (path !== weights || !isFirst) return false
      isFirst = false
      cut(response, bytes, 30_000)
      return true
    }
    const directory = await fetch()
    assert.deepEqual(await readFile(join(directory, weights)), contentOf(hub, weights))
    const ranges = hub.requests.flatMap(({ range }) => (range === undefined ? [] : [range]))
    assert.deepEqual(new Set(ranges), new Set([`bytes=30000-${contentOf(hub, weights).length - 1}`]))
  })

  test('in the next process after all attempts failed, and no half file has its final name', async () => {
    const hub = await served()
    const { cache, fetch } = await client(hub)
    let sent = 0
    hub.fault = (_, response, path, bytes) => {
      if (path !== weights) return false
      if (sent++ === 0) cut(response, bytes, 20_000)
      else response.destroy()
      return true
    }
    await assert.rejects(fetch(), { code: 'download_failed', message: /^tiny\/bert could not be downloaded: 127/ })
    assert.deepEqual(await readdir(join(cache, folder)), ['blobs'])
    const hash = sha256Of(contentOf(hub, weights))
    assert.ok((await blobs(cache)).includes(`${hash}.partial`))
    assert.ok(!(await blobs(cache)).includes(hash))
    hub.fault = () => false
    hub.requests.length = 0
    await fetch()
    assert.ok(hub.requests.some(({ range }) => range?.startsWith('bytes=20000-')))
    assert.ok((await blobs(cache)).every((blob) => !blob.includes('partial')))
  })

  test('with the part of a process that was killed, but not with the part of one that still writes', async () => {
    const hub = await served()
    const content = contentOf(hub, weights)
    const ranges = async (age: number) => {
      const { cache, fetch } = await client(hub)
      await mkdir(join(cache, folder, 'blobs'), { recursive: true })
      const part = join(cache, folder, 'blobs', `${sha256Of(content)}.0b5c.partial`)
      await writeFile(part, content.subarray(0, 10_000))
      const modified = new Date(Date.now() - age)
      await utimes(part, modified, modified)
      hub.requests.length = 0
      assert.deepEqual(await readFile(join(await fetch(), weights)), content)
      return hub.requests.flatMap(({ range }) => (range === undefined ? [] : [range]))
    }
    assert.deepEqual(await ranges(1_000), [])
    assert.match((await ranges(600_000))[0] ?? '', /^bytes=10000-/)
  })

  test('from the start if the part has other bytes, or if the server ignores the range', async () => {
    const hub = await served()
    const content = contentOf(hub, weights)
    const start = async (part: Uint8Array) => {
      const { cache, fetch } = await client(hub)
      await mkdir(join(cache, folder, 'blobs'), { recursive: true })
      await writeFile(join(cache, folder, 'blobs', `${sha256Of(content)}.partial`), part)
      return fetch()
    }
    const isRight = async (directory: string) => assert.deepEqual(await readFile(join(directory, weights)), content)
    await isRight(await start(Buffer.alloc(10_000)))
    await isRight(await start(Buffer.alloc(content.length + 1)))
    hub.fault = (request, response, _, bytes) => {
      delete request.headers.range
      sendContent(request, response, bytes)
      return true
    }
    await isRight(await start(content.subarray(0, 10_000)))
  })

  test('if another process downloads the same model at the same time', async () => {
    const hub = await served()
    const { cache, fetch } = await client(hub)
    hub.fault = (request, response, _, bytes) => {
      setTimeout(() => sendContent(request, response, bytes), 20)
      return true
    }
    const directories = await Promise.all([fetch(), fetch(), fetch()])
    for (const directory of directories)
      assert.deepEqual(await readFile(join(directory, weights)), contentOf(hub, weights))
    assert.equal((await blobs(cache)).length, 3)
  })

  test('at once after a passing failure of the Hub', async () => {
    const hub = await served()
    const { fetch } = await client(hub)
    const failed = new Set<string>()
    hub.reject = (path) => {
      if (failed.has(path)) return undefined
      failed.add(path)
      return [500, 502, 503, 429][failed.size % 4]
    }
    await fetch()
    assert.equal(failed.size, 5)
  })

  test('until it is interrupted, and keeps the part', async () => {
    const hub = await served()
    const { cache, fetch } = await client(hub)
    const stop = new AbortController()
    hub.fault = (_, response, path, bytes) => {
      if (path !== weights) return false
      response.writeHead(200, { 'content-length': bytes.length })
      response.write(bytes.subarray(0, 5_000), () => setTimeout(() => stop.abort(), 50))
      return true
    }
    await assert.rejects(fetch({ signal: stop.signal }), { code: 'shutting_down' })
    assert.ok((await blobs(cache)).includes(`${sha256Of(contentOf(hub, weights))}.partial`))
  })
})

describe('the error says what to do about a model of the Hub', () => {
  const rejected = async (fetching: Promise<unknown>, code: string, message: RegExp) =>
    assert.rejects(fetching, (error: Error & { code?: string }) => {
      assert.match(error.message, message)
      assert.equal(error.code, code)
      return true
    })

  test('that does not exist, is private, restricted, or has no such revision', async () => {
    const hub = await served({ token: 'hf_right' })
    const { fetch } = await client(hub)
    const other = await client(hub, 'v7')
    await rejected(
      fetch(),
      'invalid_setting',
      /no directory tiny\/bert, .* has no public model .*; if the model is private, set HF_TOKEN$/,
    )
    await rejected(
      fetch({ token: 'hf_wrong' }),
      'invalid_setting',
      /no model tiny\/bert that the token may read: .*check HF_TOKEN$/,
    )
    await rejected(
      other.fetch({ token: 'hf_right' }),
      'invalid_setting',
      /^tiny\/bert has no revision "v7"; expected a branch/,
    )
    const gated = await client(await served({ token: 'hf_right', gated: true }))
    const restricted =
      /^access to tiny\/bert is restricted: accept its conditions at http.*\/tiny\/bert, and set HF_TOKEN/
    await rejected(gated.fetch(), 'invalid_setting', restricted)
    await rejected(gated.fetch({ token: 'hf_wrong' }), 'invalid_setting', restricted)
  })

  test('that cannot be reached and is not in the cache', async () => {
    const hub = await served()
    const { fetch, cache } = await client(hub)
    await rejected(
      fetch({ offline: true }),
      'invalid_setting',
      /HF_HUB_OFFLINE is set, but .* no complete copy of tiny\/bert, revision main: start once without/,
    )
    hub.close()
    await rejected(fetch(), 'download_failed', /ECONNREFUSED.*Check the network, its proxy and HF_ENDPOINT/)
    assert.deepEqual(await readdir(cache), [])
  })

  test('that is only partly in the cache, in offline mode', async () => {
    const hub = await served()
    const { fetch } = await client(hub)
    await rm(join(await fetch(), weights))
    await rejected(fetch({ offline: true }), 'invalid_setting', /no complete copy of tiny\/bert/)
    await fetch()
    await fetch({ offline: true })
  })

  test('whose bytes are changed on the way', async () => {
    const hub = await served()
    const { cache, fetch } = await client(hub)
    for (const path of ['config.json', weights]) {
      hub.fault = (request, response, each, bytes) => {
        if (each !== path) return false
        const changed = Uint8Array.from(bytes)
        changed[9] = 0
        sendContent(request, response, changed)
        return true
      }
      const kind = path === weights ? 'SHA-256' : 'Git id'
      await rejected(
        fetch(),
        'download_failed',
        new RegExp(`^${path} of tiny/bert arrived twice with other bytes .*${kind} [0-9a-f]+\\).*HF_ENDPOINT\\.$`),
      )
      for (const blob of await blobs(cache)) assert.ok(!blob.includes('partial'))
    }
  })

  test('that has weights in another format, or no tokenizer.json', async () => {
    const without = async (path: string, other: string) => {
      const files = await filesIn(directoryOf('bert'))
      files.delete(path)
      files.set(other, Buffer.from('PK'))
      return (await client(await served({ files }))).fetch()
    }
    const convert = 'Save the model with the Python package transformers'
    await rejected(
      without(weights, 'pytorch_model.bin'),
      'invalid_backbone',
      new RegExp(
        `^tiny/bert/model\\.safetensors is missing, and pytorch_model\\.bin cannot be used instead\\. ${convert}`,
      ),
    )
    await rejected(
      without('tokenizer.json', 'vocab.txt'),
      'invalid_backbone',
      /^tiny\/bert\/tokenizer\.json is missing, and vocab\.txt cannot/,
    )
    await rejected(
      without('config.json', 'model.Q4_K_M.gguf'),
      'invalid_backbone',
      /^tiny\/bert\/config\.json is missing, and model\.Q4_K_M\.gguf cannot/,
    )
  })

  test('if the response is not that of a Hub', async () => {
    const hub = await served()
    const { fetch } = await client({ endpoint: `${hub.endpoint}/elsewhere` })
    await rejected(fetch(), 'invalid_setting', /no directory tiny\/bert/)
    const files = new Map([
      ['modules.json', Buffer.from('[{"type":"sentence_transformers.models.Transformer","path":"../../x"}]')],
    ])
    const hostile = await client(await served({ files, large: new Set() }))
    await rejected(
      hostile.fetch(),
      'invalid_backbone',
      /modules\.json: the path of module 0 is "\.\.\/\.\.\/x"; expected the name of a folder/,
    )
  })

  test('if the cache cannot be written', async () => {
    const { fetch, cache } = await client(await served())
    await writeFile(join(cache, folder), '')
    await rejected(
      fetch(),
      'unwritable_file',
      /cannot be written: a part of its path is not a directory .*HF_HUB_CACHE selects another folder/,
    )
  })

  test('if a link in the cache leads nowhere, by downloading the file again', async () => {
    const { fetch } = await client(await served())
    const directory = await fetch()
    const path = join(directory, 'config.json')
    await rm(path)
    await symlink('../../blobs/gone', path)
    await fetch()
    assert.ok((await lstat(path)).isSymbolicLink())
    await readFile(path)
    await rename(path, `${path}.moved`)
    await fetch()
    await readFile(path)
  })
})

describe('a name of the Hub', () => {
  test('has an organisation, a name, and perhaps a revision', () => {
    const cases: [string, string, string][] = [
      ['intfloat/e5-small-v2', 'intfloat/e5-small-v2', 'main'],
      ['a/b.c_d-e@refs/pr/3', 'a/b.c_d-e', 'refs/pr/3'],
      [`a/b@${commit}`, 'a/b', commit],
    ]
    for (const [given, repository, revision] of cases) assert.deepEqual(parseHubName(given), { repository, revision })
  })

  test('is no path', () => {
    for (const given of [
      'bert',
      './a/b',
      '../b',
      'a/../b',
      '/a/b',
      'a/b/c',
      'a/b/',
      'a/b@',
      'a/..',
      'a\\b',
      'a--b/c',
      'a/b@x/../y',
      '',
    ])
      assert.equal(parseHubName(given), undefined, given)
  })

  test('is a directory if there is one of that path', async () => {
    const before = process.cwd()
    process.chdir(await temporaryDirectory())
    try {
      await mkdir('org/name', { recursive: true })
      assert.equal(parseHubName('org/name'), undefined)
      assert.ok(parseHubName('org/other'))
    } finally {
      process.chdir(before)
    }
  })
})

describe('the settings of the Hub', () => {
  test('are those of huggingface_hub', async () => {
    const home = await temporaryDirectory()
    await writeFile(join(home, 'token'), 'hf_saved\n')
    assert.equal(readHubSettings({ HF_HOME: home }).token, 'hf_saved')
    assert.equal(readHubSettings({ HF_HOME: home, HF_TOKEN: 'hf_given' }).token, 'hf_given')
    assert.equal(readHubSettings({ HF_HOME: home, HF_HUB_DISABLE_IMPLICIT_TOKEN: '1' }).token, undefined)
    assert.equal(readHubSettings({ HF_TOKEN_PATH: join(home, 'token') }).token, 'hf_saved')
    assert.equal(readHubSettings({ HF_ENDPOINT: 'https://mirror.example/' }).endpoint, 'https://mirror.example')
    assert.equal(readHubSettings({}).endpoint, 'https://huggingface.co')
    for (const value of ['1', 'ON', 'yes', 'True']) assert.ok(readHubSettings({ HF_HUB_OFFLINE: value }).offline)
    for (const value of ['0', 'no', '']) assert.ok(!readHubSettings({ HF_HUB_OFFLINE: value }).offline)
    assert.throws(() => readHubSettings({ HF_ENDPOINT: 'mirror' }), {
      code: 'invalid_setting',
      message: /^HF_ENDPOINT is not a URL/,
    })
  })
})
