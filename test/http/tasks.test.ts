import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { before, describe, test } from 'node:test'
import fc from 'fast-check'
import { readBackbone } from '../../src/backbones/backbone.js'
import { TextTokenizer } from '../../src/backbones/tokenizer.js'
import { Engine } from '../../src/engine/engine.js'
import { digestOf } from '../../src/formats/digest.js'
import { readTaskFile } from '../../src/petl/task-file.js'
import { logitsOf } from '../../src/tasks/heads.js'
import { operator } from '../../src/tenants/tenant.js'
import { changedTask, distance, headOf, modelDir, shiftedTask, taskBytes, withoutMask } from '../material.js'
import { type ClassificationResponse, predict, type Running, startRunning, upload } from './running.js'

const sst2 = taskBytes('sst2')
const etag = (file: Uint8Array) => `"${digestOf(file)}"`

/** The mean-pooled vector of the backbone without a prototype. */
async function bareVector(text: string): Promise<Float32Array> {
  const backbone = await readBackbone(modelDir)
  const options = { provider: 'cpu', numerics: 'float32', slots: 1, threads: 1 } as const
  const engine = await Engine.start({ backbone, prototype: undefined, ...options })
  const { inputIds, tokenTypeIds } = await (await TextTokenizer.open(backbone)).encode({ text })
  const row = { inputIds, tokenTypeIds, pooling: 'mean', maskKey: '', withHidden: false } as const
  const { rows } = await engine.run([{ ...row, bitset: () => new Uint8Array() }])
  await engine.close()
  return rows[0]?.pooled ?? new Float32Array()
}

describe('tasks over HTTP', () => {
  let running: Running
  before(async () => {
    running = await startRunning({ maxUploadBytes: '100000' })
  })
  const get = (url: string, headers: Record<string, string> = {}) => running.app.inject({ method: 'GET', url, headers })
  const remove = (id: string, headers: Record<string, string> = {}) =>
    running.app.inject({ method: 'DELETE', url: `/tasks/${id}`, headers })
  const ids = async () => (await get('/tasks')).json<{ tasks: { id: string }[] }>().tasks.map(({ id }) => id)

  test('an uploaded task is live at once, and can be replaced and deleted', async () => {
    const created = await upload(running.app, 'mine')
    assert.deepEqual(
      [created.statusCode, created.headers.etag, created.headers.location],
      [201, etag(sst2), '/tasks/mine'],
    )
    const before = (
      await predict(running.app, 'mine', { inputs: 'a gorgeous film', raw_scores: true })
    ).json<ClassificationResponse>()
    const next = shiftedTask(sst2, 10)
    const replaced = await upload(running.app, 'mine', next)
    assert.deepEqual([replaced.statusCode, replaced.headers.etag], [200, etag(next)])
    const after = (
      await predict(running.app, 'mine', { inputs: 'a gorgeous film', raw_scores: true })
    ).json<ClassificationResponse>()
    assert.deepEqual([before.version, after.version], [digestOf(sst2), digestOf(next)])
    assert.ok(Math.abs((after.predictions[0]?.score ?? 0) - (before.predictions[0]?.score ?? 0) - 10) < 1e-4)
    assert.equal((await remove('mine')).statusCode, 204)
    assert.equal((await predict(running.app, 'mine', { inputs: 'a' })).statusCode, 404)
    assert.equal((await remove('mine')).statusCode, 404)
  })

  test('a task is described, listed and downloaded', async () => {
    await upload(
      running.app,
      'described',
      changedTask(sst2, { metadata: { description: 'films', metrics: '{"accuracy":0.9}' } }),
    )
    const described = (await get('/tasks/described')).json<Record<string, unknown>>()
    assert.deepEqual(described.labels, ['negative', 'positive'])
    assert.deepEqual(
      [described.origin, described.description, described.metrics],
      ['uploaded', 'films', { accuracy: 0.9 }],
    )
    const mask = described.mask as { density: number; effective_density: number[]; overlap_with_layer_masks: number[] }
    assert.ok(Math.abs(mask.density - 0.5) < 0.001, 'the reference masks keep half of the weights')
    mask.effective_density.forEach((density, layer) => {
      // |A ∪ B| = |A| + |B| − |A ∩ B|, with half of the weights in each.
      assert.ok(Math.abs(density - (1 - 0.5 * (mask.overlap_with_layer_masks[layer] ?? 0))) < 0.001)
    })
    const file = await get('/tasks/sst2/file')
    assert.deepEqual([file.headers.etag, file.headers['content-type']], [etag(sst2), 'application/octet-stream'])
    assert.deepEqual(file.rawPayload, sst2)
    const page = (await get('/tasks?limit=2&after=cola')).json<{
      tasks: { id: string }[]
      next: string
      total: number
    }>()
    assert.deepEqual(
      page.tasks.map(({ id }) => id),
      ['described', 'mrpc'],
    )
    assert.deepEqual([page.next, page.total], ['mrpc', 7])
    assert.deepEqual(await ids(), ['cola', 'described', 'mrpc', 'sick_relatedness', 'sst2', 'subj', 'trec'])
    await remove('described')
  })

  test('a task without a mask is uploaded, described, downloaded and served by the bare backbone', async () => {
    const file = changedTask(sst2, withoutMask)
    assert.equal((await upload(running.app, 'bare', file)).statusCode, 201)
    const described = (await get('/tasks/bare')).json<Record<string, unknown>>()
    assert.deepEqual([described.mask, described.combine, described.storage], [undefined, undefined, undefined])
    assert.deepEqual(described.labels, ['negative', 'positive'])
    assert.deepEqual((await get('/tasks/bare/file')).rawPayload, file)

    const text = 'a gorgeous film'
    const inputs = ['sst2', 'bare', 'sst2'].map((task) => ({ task, text }))
    const response = await running.app.inject({
      method: 'POST',
      url: '/predict',
      payload: { inputs, raw_scores: true },
    })
    const scores = response
      .json<{ predictions: ClassificationResponse['predictions'] }>()
      .predictions.map((prediction) => prediction.scores.map(({ score }) => score))
    const expected = logitsOf(headOf(readTaskFile(sst2)), await bareVector(text))
    assert.ok(distance(scores[1] ?? [], expected) < 1e-5, `${scores[1]} against ${expected}`)
    assert.deepEqual(scores[0], scores[2])
    assert.ok(distance(scores[0] ?? [], expected) > 0.01)
    await remove('bare')
  })

  test('a feature extraction without a mask returns the embeddings of the bare backbone', async () => {
    const embeddings = changedTask(sst2, {
      metadata: { ...withoutMask.metadata, problem_type: 'feature_extraction', labels: undefined, normalize: 'false' },
      tensors: { ...withoutMask.tensors, 'head.weight': undefined, 'head.bias': undefined },
    })
    assert.equal((await upload(running.app, 'embeddings', embeddings)).statusCode, 201)
    const text = 'a gorgeous film'
    const { predictions } = (await predict(running.app, 'embeddings', { inputs: text })).json<{
      predictions: { embedding: number[] }[]
    }>()
    assert.ok(distance(predictions[0]?.embedding ?? [], await bareVector(text)) < 1e-5)
    await remove('embeddings')
  })

  test('returns both digests for a task without a mask of another backbone', async () => {
    const other = 'c'.repeat(64)
    const metadata = { ...withoutMask.metadata, backbone: other }
    const response = await upload(running.app, 'bad', changedTask(sst2, { ...withoutMask, metadata }))
    const { code, task_backbone, server_backbone } = response.json<Record<string, string>>()
    assert.deepEqual([response.statusCode, code], [409, 'backbone_mismatch'])
    assert.deepEqual([task_backbone, server_backbone], [other, running.server.services.registry.model.backbone])
  })

  test('a task is deleted by requests with any content type or body', async () => {
    for (const headers of [
      {},
      { 'content-type': 'application/json' },
      { 'content-type': 'application/octet-stream', 'content-length': '0' },
      { 'content-type': 'application/xml' },
    ]) {
      await upload(running.app, 'gone')
      assert.equal((await remove('gone', headers)).statusCode, 204, JSON.stringify(headers))
    }
    await upload(running.app, 'gone')
    const headers = { 'content-type': 'application/json' }
    const response = await running.app.inject({ method: 'DELETE', url: '/tasks/gone', headers, body: '{"not":' })
    assert.equal(response.statusCode, 204)
    assert.equal((await get('/tasks', headers)).statusCode, 200)
  })

  test('HEAD returns the headers of GET for a file', async () => {
    const [head, file] = [
      await running.app.inject({ method: 'HEAD', url: '/tasks/sst2/file' }),
      await get('/tasks/sst2/file'),
    ]
    assert.deepEqual([head.statusCode, head.body], [200, ''])
    for (const name of ['content-length', 'etag', 'content-type'])
      assert.equal(head.headers[name], file.headers[name], name)
    assert.equal(head.headers['content-length'], String(sst2.byteLength))
  })

  test('an upload can have the default content type of curl, but no other wrong one', async () => {
    const put = (type: string) =>
      upload(running.app, 'typed', sst2, { 'content-type': type, 'if-match': '"none"' }).then(
        ({ statusCode }) => statusCode,
      )
    assert.equal(await put('application/octet-stream'), 412)
    assert.equal(await put('application/x-www-form-urlencoded'), 412)
    for (const type of ['application/json', 'text/plain', 'multipart/form-data; boundary=x', 'nonsense'])
      assert.equal(await put(type), 415)
  })

  test('If-Match and If-None-Match prevent changes of other versions', async () => {
    const next = shiftedTask(sst2, 1)
    assert.equal((await upload(running.app, 'cond', sst2, { 'if-match': '*' })).statusCode, 412)
    assert.equal((await upload(running.app, 'cond', sst2, { 'if-none-match': '*' })).statusCode, 201)
    assert.equal((await upload(running.app, 'cond', next, { 'if-none-match': '*' })).statusCode, 412)
    assert.equal((await upload(running.app, 'cond', next, { 'if-match': '"other"' })).statusCode, 412)
    assert.equal((await get('/tasks/cond')).headers.etag, etag(sst2))
    for (const url of ['/tasks/cond', '/tasks/cond/file']) {
      // Caches and proxies make a strong tag weak.
      for (const tags of [etag(sst2), `W/${etag(sst2)}`, `"a,b", W/"c" ,, ${etag(sst2)},`, '*'])
        assert.equal((await get(url, { 'if-none-match': tags })).statusCode, 304, tags)
      for (const tags of ['"x"', `W/"x", "y"`])
        assert.equal((await get(url, { 'if-none-match': tags })).statusCode, 200)
      for (const tags of [etag(sst2), `"x", ${etag(sst2)}`, '*'])
        assert.equal((await get(url, { 'if-match': tags })).statusCode, 200)
      for (const tags of ['"x"', `W/${etag(sst2)}`])
        assert.equal((await get(url, { 'if-match': tags })).statusCode, 412)
      for (const tags of [digestOf(sst2), 'x', '"', '"a" "b"', 'w/"a"', '*, "a"', '', ',', `${'"a",'.repeat(2_000)}x`])
        for (const name of ['if-match', 'if-none-match']) {
          const response = await get(url, { [name]: tags })
          assert.deepEqual(
            [response.statusCode, response.json<{ code: string }>().code],
            [400, 'invalid_request'],
            tags,
          )
        }
    }
    assert.equal((await upload(running.app, 'cond', next, { 'if-match': `W/${etag(sst2)}` })).statusCode, 412)
    assert.equal((await upload(running.app, 'cond', next, { 'if-none-match': `W/${etag(sst2)}` })).statusCode, 412)
    assert.equal((await upload(running.app, 'cond', next, { 'if-match': digestOf(sst2) })).statusCode, 400)
    assert.equal((await upload(running.app, 'cond', next, { 'if-match': `"x", ${etag(sst2)}` })).statusCode, 200)
    assert.equal((await remove('cond', { 'if-match': etag(sst2) })).statusCode, 412)
    assert.equal((await remove('cond', { 'if-match': etag(next) })).statusCode, 204)
  })

  test('a form uploads a task, with the id in a field or as the filename', async () => {
    const form = (parts: [string, string, Uint8Array | string][]) => {
      const pieces = parts.flatMap(([disposition, type, content]) => [
        `--cut\r\ncontent-disposition: form-data; ${disposition}\r\ncontent-type: ${type}\r\n\r\n`,
        content,
        '\r\n',
      ])
      const body = Buffer.concat([...pieces, '--cut--\r\n'].map((piece) => Buffer.from(piece as string)))
      const headers = { 'content-type': 'multipart/form-data; boundary=cut' }
      return running.app.inject({ method: 'POST', url: '/tasks', headers, body })
    }
    const file = (name: string, content: Uint8Array = sst2): [string, string, Uint8Array] => [
      `name="file"; filename="${name}"`,
      'application/octet-stream',
      content,
    ]
    const named = await form([['name="id"', 'text/plain', 'by-field'], file('x.safetensors')])
    assert.deepEqual([named.statusCode, named.headers.location], [201, '/tasks/by-field'])
    assert.equal((await form([file('by-name.safetensors')])).headers.location, '/tasks/by-name')
    assert.equal((await form([file('Bad Name.safetensors')])).json<{ code: string }>().code, 'invalid_task_id')
    assert.equal((await form([['name="id"', 'text/plain', 'x']])).json<{ code: string }>().code, 'invalid_request')
    const rejection = async (...parts: Parameters<typeof form>[0]) => {
      const response = await form(parts)
      assert.deepEqual([response.statusCode, response.json<{ code: string }>().code], [400, 'invalid_request'])
      return response.json<{ detail: string }>().detail
    }
    const id = (value: string): [string, string, string] => ['name="id"', 'text/plain', value]
    assert.match(
      await rejection(file('a.safetensors'), id('a'), id('b')),
      /^the form has a field "id"; expected one file named "file"/,
    )
    assert.match(await rejection(['name="x\u001b"', 'text/plain', 'x'], file('a.safetensors')), /a field "x\\u001b"/)
    assert.match(await rejection(file('a.safetensors'), file('b.safetensors')), /^the form has a file "file"; expected/)
    assert.match(
      await rejection(...[1, 2, 3, 4, 5].map((n) => id(`n${n}`)), file('a.safetensors')),
      /more than 5 parts/,
    )
    assert.match(await rejection(['name="__proto__"', 'text/plain', 'x'], file('a.safetensors')), /a field "__proto__"/)
    for (const type of ['text/plain', 'application/octet-stream'])
      assert.match(await rejection(['name="file"', type, sst2]), /^the form has a field "file" without a filename/)
    assert.match(await rejection(['filename="a.safetensors"', 'text/plain', sst2]), /form-data; name=/)
    assert.match(
      await rejection([`name="file"; filename="a"; x="${'y'.repeat(9_000)}"`, 'text/plain', sst2]),
      /headers of a part have more than 8192 bytes/,
    )
    for (const type of [
      'multipart/form-data',
      'multipart/form-data; boundary=',
      'multipart/form-data; boundary=other',
    ]) {
      const response = await running.app.inject({
        method: 'POST',
        url: '/tasks',
        headers: { 'content-type': type },
        body: '--x\r\n\r\n--x--\r\n',
      })
      assert.equal(response.json<{ code: string }>().code, 'invalid_request', type)
    }
    assert.equal((await form([file('big.safetensors', Buffer.alloc(150_000))])).statusCode, 413)
    const json = await running.app.inject({ method: 'POST', url: '/tasks', body: { id: 'x' } })
    assert.equal(json.statusCode, 415)
    await remove('by-field')
    await remove('by-name')
  })

  const bad: [string, string, Uint8Array, number, string][] = [
    ['a file that is not safetensors', 'bad', Buffer.from('not a tensor in sight'), 400, 'not_safetensors'],
    ['an empty file', 'bad', Buffer.alloc(0), 400, 'not_safetensors'],
    ['a truncated file', 'bad', sst2.subarray(0, 6000), 400, 'not_safetensors'],
    [
      'a task of another prototype',
      'bad',
      changedTask(sst2, { metadata: { prototype: 'b'.repeat(64) } }),
      409,
      'prototype_mismatch',
    ],
    ['an unknown combination', 'bad', changedTask(sst2, { metadata: { combine: 'xor' } }), 422, 'invalid_task_file'],
    ['a file over the limit', 'bad', Buffer.alloc(100_001), 413, 'body_too_large'],
    ['a bad id', 'Bad%2Fid', sst2, 400, 'invalid_task_id'],
    ['an id of 65 characters', 'a'.repeat(65), sst2, 400, 'invalid_task_id'],
    ['the id of a bundled task', 'sst2', shiftedTask(sst2, 1), 409, 'task_read_only'],
  ]
  for (const [what, id, file, status, code] of bad)
    test(`rejects ${what}, and stores nothing`, async () => {
      const before = await ids()
      const response = await upload(running.app, id, file)
      assert.deepEqual([response.statusCode, response.json<{ code: string }>().code], [status, code])
      assert.deepEqual(await ids(), before)
      assert.equal((await get('/tasks/sst2')).headers.etag, etag(sst2))
    })

  test('responds to a client that sends far too much before it reads', async () => {
    const { hostname, port } = new URL(running.server.address)
    const socket = connect(Number(port), hostname)
    const bytes = 20_000_000
    socket.write(`PUT /tasks/bad HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${bytes}\r\nconnection: close\r\n`)
    socket.write('content-type: application/octet-stream\r\n\r\n')
    await new Promise((resolve) => socket.write(Buffer.alloc(bytes), resolve))
    let response = ''
    for await (const piece of socket) response += piece
    assert.match(response, /^HTTP\/1.1 413 .*the body has 20000000 bytes; this route allows at most 100000/s)
  })

  test('returns both digests for a task of another prototype', async () => {
    const other = 'c'.repeat(64)
    const response = await upload(running.app, 'bad', changedTask(sst2, { metadata: { prototype: other } }))
    const { task_prototype, server_prototype } = response.json<Record<string, string>>()
    assert.deepEqual(
      [task_prototype, server_prototype],
      [other, running.server.services.registry.model.prototype?.digest],
    )
  })

  test('10,000 mutated task files get a 4xx each, and change nothing', async () => {
    const before = await ids()
    const headerLength = Number(sst2.readBigUInt64LE(0))
    const header = sst2.subarray(8, 8 + headerLength).toString()
    const withHeader = (text: string) => {
      const json = Buffer.from(text)
      const prefix = Buffer.alloc(8)
      prefix.writeBigUInt64LE(BigInt(json.byteLength))
      return Buffer.concat([prefix, json, sst2.subarray(8 + headerLength)])
    }
    const words = [
      '""',
      '-1',
      '1e99',
      'null',
      '[]',
      '{}',
      '"F32"',
      '"U8"',
      '[0,8]',
      '[1,3072]',
      '[4294967296,4294967296]',
      '9007199254740993',
      '"or"',
      '\\u0000',
      '{"__proto__":1}',
    ]
    const mutation = fc.oneof(
      fc.nat(sst2.byteLength - 1).map((length) => sst2.subarray(0, length)),
      fc.array(fc.tuple(fc.nat(headerLength + 7), fc.nat(255)), { minLength: 1, maxLength: 6 }).map((changes) => {
        const file = Buffer.from(sst2)
        for (const [at, byte] of changes) file[at] = byte
        return file
      }),
      fc
        .tuple(fc.nat(header.length), fc.nat(40), fc.constantFrom(...words))
        .map(([at, cut, word]) => withHeader(header.slice(0, at) + word + header.slice(at + cut))),
      fc
        .constantFrom(...header.matchAll(/-?\d+|"[^"]*"/g))
        .chain((piece) =>
          fc
            .constantFrom(...words)
            .map((word) =>
              withHeader(header.slice(0, piece.index) + word + header.slice(piece.index + piece[0].length)),
            ),
        ),
      fc.uint8Array({ maxLength: 200 }).map((tail) => Buffer.concat([sst2, tail])),
      fc.uint8Array({ maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    )
    let sent = 0
    await fc.assert(
      fc.asyncProperty(mutation, async (file) => {
        // A mutated file can be valid; the condition then rejects it.
        const response = await upload(running.app, 'mutant', file, { 'if-match': '"none"' })
        sent++
        assert.ok([400, 409, 412, 422].includes(response.statusCode), `${response.statusCode} ${response.body}`)
        assert.equal(response.headers['content-type'], 'application/problem+json')
      }),
      { numRuns: 10_000 },
    )
    assert.equal(sent, 10_000)
    assert.deepEqual(await ids(), before)
  })
})

describe('an upload and a bundled task with the same id', () => {
  test('the older upload is served, and the bundled task once the upload is deleted', async () => {
    const { server, app } = await startRunning()
    const { registry } = server.services
    const mine = shiftedTask(sst2, 3)
    await registry.store.put(operator, 'sst2', digestOf(mine), mine, () => {})
    assert.deepEqual(registry.shadowed(operator), ['sst2'])
    assert.equal(registry.countOf(operator), 6)
    const version = async () => (await predict(app, 'sst2', { inputs: 'a' })).json<ClassificationResponse>().version
    assert.equal(await version(), digestOf(mine))
    assert.equal((await app.inject({ method: 'DELETE', url: '/tasks/sst2' })).statusCode, 204)
    assert.equal(await version(), digestOf(sst2))
  })
})
