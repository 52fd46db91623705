// Commands whose model is one of the Hugging Face Hub.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { embeddings } from '../../src/commands/embeddings.js'
import { copyOf, directoryOf } from '../backbones/tiny.js'
import { temporaryDirectory } from '../material.js'
import { cli, failedStart, outputOf, put, ready, start } from '../server-process.js'
import { smallDisk } from '../small-disk.js'
import { commit, filesIn, HubServer, sha256Of } from './hub-server.js'

const name = 'tiny/bert'
const hub = await HubServer.start({
  name,
  files: await filesIn(directoryOf('bert')),
  large: new Set(['model.safetensors']),
  token: 'hf_right',
})
const environment = (cache: string, changes: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv => ({
  ...process.env,
  HF_ENDPOINT: hub.endpoint,
  HF_HOME: cache,
  HF_TOKEN: 'hf_right',
  ...changes,
})

describe('a model of the Hub', () => {
  test('is served, with its download in the log, and later without network', async () => {
    const home = await temporaryDirectory()
    const serve = async (env: NodeJS.ProcessEnv) => {
      const flags = ['--model', `${name}@v1`, '--data-dir', await temporaryDirectory(), '--engines', '1']
      const child = start([], flags, { env })
      const log = outputOf(child)
      return { server: await ready(child), log }
    }
    const online = await serve(environment(home))
    assert.match(
      online.log(),
      /"model":"tiny\/bert@v1","bytes":(\d+),"total_bytes":\1,"msg":"downloading the model: 100 %"/,
    )
    assert.doesNotMatch(online.log(), /hf_right/)
    const snapshot = join(home, 'hub/models--tiny--bert/snapshots', commit)
    assert.deepEqual((await readdir(snapshot)).sort(), ['config.json', 'model.safetensors', 'tokenizer.json'])
    const out = join(home, 'vectors.safetensors')
    await embeddings({ modelDir: await copyOf('bert'), out })
    assert.equal((await put(online.server.url, 'vectors', await readFile(out))).status, 201)
    const offline = await serve(environment(home, { HF_HUB_OFFLINE: '1', HF_ENDPOINT: 'http://127.0.0.1:9' }))
    assert.doesNotMatch(offline.log(), /downloading/)
  })

  test('that may not be read stops the server with what to do, and does not show the token', async () => {
    const env = environment(await temporaryDirectory(), { HF_TOKEN: 'hf_wrong' })
    const flags = ['--model', name, '--data-dir', await temporaryDirectory()]
    const { code, output } = await failedStart(start([], flags, { env, stdio: ['ignore', 'pipe', 'pipe'] }))
    assert.equal(code, 1)
    assert.match(
      output,
      /the server did not start: .* has no model tiny\/bert that the token may read: .*check HF_TOKEN\n$/,
    )
    assert.doesNotMatch(output, /hf_wrong/)
  })

  test('is downloaded by a command, with its progress on stderr', async () => {
    const home = await temporaryDirectory()
    const args = [cli, 'embeddings', '--model', name, '--out', join(home, 'out.safetensors')]
    const child = spawn(process.execPath, args, { env: environment(home), stdio: ['ignore', 'pipe', 'pipe'] })
    const { code, output } = await failedStart(child)
    assert.equal(code, 0)
    assert.match(output, /downloading tiny\/bert: 0\.1 of 0\.1 MB\n/)
    assert.match(output, /vectors +32 numbers, with L2 norm 1/)
  })

  test('that does not fit on the disk is not begun, or fails without a half file', async () => {
    const files = await filesIn(directoryOf('bert'))
    files.set('model.safetensors', Buffer.alloc(4_000_000))
    const { endpoint } = await HubServer.start({ name, files, large: new Set(['model.safetensors']) })
    const { directory, wrapper } = await smallDisk()
    const args = [cli, 'embeddings', '--model', name, '--out', join(await temporaryDirectory(), 'out.safetensors')]
    const [program = '', ...rest] = [...wrapper, process.execPath, ...args]
    const env = environment(directory, { HF_ENDPOINT: endpoint })
    const { code, output } = await failedStart(spawn(program, rest, { env, stdio: ['ignore', 'pipe', 'pipe'] }))
    assert.equal(code, 1)
    assert.match(
      output,
      /tiny\/bert needs 4\.0 MB, but .* free: free space, or set HF_HUB_CACHE|cannot be written: file too large/,
    )
    const blobs = await readdir(join(directory, 'hub/models--tiny--bert/blobs'))
    assert.ok(!blobs.includes(sha256Of(files.get('model.safetensors') ?? assert.fail())))
  })
})
