// Request bodies: encodings, sizes and shapes, and how much of a rejected body is read.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { excessOf, maxDepth, maxValues } from '../../src/http/json-shape.js'
import { taskBytes } from '../material.js'
import { RawClient, request } from '../raw-client.js'
import { operatorKey, predict, type Running, startRunning } from './running.js'

interface ProblemBody {
  readonly code: string
  readonly detail: string
}

const maxUploadBytes = 200_000
let running: Running
before(async () => {
  running = await startRunning({ maxInputs: '20', maxUploadBytes: String(maxUploadBytes) })
})

const post = (body: string | Buffer, headers: Record<string, string> = {}) =>
  running.app.inject({
    method: 'POST',
    url: '/tasks/sst2/predict',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  })
const text = '{"inputs":"a gorgeous film","top_k":1}'

describe('a JSON body', () => {
  test('must be UTF-8, with or without a byte order mark', async () => {
    const word = async (body: Buffer) =>
      (await predict(running.app, 'sst2', body.toString())).json<{ predictions: object[] }>().predictions[0]
    assert.equal((await post(Buffer.from(`\ufeff${text}`))).statusCode, 200)
    assert.deepEqual(
      (await post(Buffer.from(`\ufeff${text}`))).json<{ predictions: object[] }>().predictions[0],
      await word(Buffer.from(text)),
    )
    for (const [what, body] of [
      ['Latin-1', Buffer.from('{"inputs":"caf\u00e9"}', 'latin1')],
      ['UTF-16', Buffer.from(text, 'utf16le')],
      ['a lone surrogate', Buffer.concat([Buffer.from('{"inputs":"'), Buffer.of(0xed, 0xa0, 0x80), Buffer.from('"}')])],
      ['an overlong slash', Buffer.concat([Buffer.from('{"inputs":"'), Buffer.of(0xc0, 0xaf), Buffer.from('"}')])],
      ['a cut character', Buffer.from('{"inputs":"\u00e9"}').subarray(0, -3)],
      ['invalid bytes', Buffer.of(0xff, 0xfe, 0x00)],
    ] as const) {
      const response = await post(body)
      assert.deepEqual([response.statusCode, response.json<ProblemBody>().code], [400, 'invalid_json'], what)
    }
  })

  test('is rejected if its content type names another charset', async () => {
    for (const charset of ['utf-8', 'UTF-8', '"utf-8"', 'utf8'])
      assert.equal((await post(text, { 'content-type': `application/json; charset=${charset}` })).statusCode, 200)
    assert.equal((await post(text, { 'content-type': 'Application/JSON; a=b ; Charset="UTF-8"' })).statusCode, 200)
    for (const charset of ['iso-8859-1', '"ISO-8859-1"', 'utf-16', 'utf-8x', 'us-ascii', '""', '"utf-8\\""']) {
      const response = await post(text, { 'content-type': `application/json; charset=${charset}` })
      assert.deepEqual(
        [response.statusCode, response.json<ProblemBody>().code],
        [415, 'unsupported_media_type'],
        charset,
      )
    }
  })

  test('is rejected before it is read if it is compressed', async () => {
    for (const encoding of ['gzip', 'deflate', 'br', 'GZIP', 'identity, gzip', 'x'.repeat(5_000)])
      for (const [url, method, type] of [
        ['/tasks/sst2/predict', 'POST', 'application/json'],
        ['/tasks/compressed', 'PUT', 'application/octet-stream'],
        ['/tasks', 'POST', 'multipart/form-data; boundary=x'],
      ] as const) {
        const headers = { 'content-type': type, 'content-encoding': encoding }
        const response = await running.app.inject({ method, url, headers, body: text })
        assert.deepEqual(
          [response.statusCode, response.json<ProblemBody>().code],
          [415, 'unsupported_media_type'],
          encoding,
        )
        assert.equal(response.headers['accept-encoding'], 'identity')
        assert.ok(response.json<ProblemBody>().detail.length < 200)
      }
    for (const encoding of ['identity', 'Identity', ''])
      assert.equal((await post(text, { 'content-encoding': encoding })).statusCode, 200)
  })

  test('is rejected if it has too many values or levels', async () => {
    const many = (count: number, what: string) => `{"inputs":[${new Array(count).fill(what).join(',')}]}`
    for (const [body, status, code] of [
      [many(20, '"a"'), 200, undefined],
      [many(20, '{"text":"a, [b] {c}","text_pair":"\\"\\\\"}'), 200, undefined],
      [many(21, '"a"'), 422, 'too_many_inputs'],
      [many(100_000, '"a"'), 422, 'too_many_inputs'],
      [many(300_000, '0'), 422, 'too_many_inputs'],
      [`{${Array.from({ length: 90_000 }, (_, at) => `"${at}":1`).join(',')}}`, 422, 'too_many_inputs'],
      ['['.repeat(1_000_000), 400, 'invalid_request'],
      ['{"a":'.repeat(200_000), 400, 'invalid_request'],
      [`{"inputs":${'1'.repeat(1_000_000)}}`, 400, 'invalid_request'],
      [`{"${'k'.repeat(1_000_000)}":1}`, 400, 'invalid_request'],
    ] as const) {
      const response = await post(body)
      assert.deepEqual(
        [response.statusCode, response.json<Partial<ProblemBody>>().code],
        [status, code],
        body.slice(0, 40),
      )
      assert.ok(status === 200 || response.json<ProblemBody>().detail.length < 500)
    }
  })

  test('counts only values outside of strings', () => {
    const few = maxValues(1)
    assert.equal(excessOf(Buffer.from(JSON.stringify(new Array(few).fill(0))), few), undefined)
    assert.equal(excessOf(Buffer.from(JSON.stringify(new Array(few + 1).fill(0))), few), 'values')
    assert.equal(excessOf(Buffer.from(JSON.stringify({ text: '[{,"\\'.repeat(5_000) })), few), undefined)
    assert.equal(excessOf(Buffer.from('\u6f22,'.repeat(few)), few), undefined)
    const nested = (depth: number) => Buffer.from('['.repeat(depth) + ']'.repeat(depth))
    assert.equal(excessOf(nested(maxDepth), few), undefined)
    assert.equal(excessOf(nested(maxDepth + 1), few), 'depth')
    assert.equal(excessOf(Buffer.from('[[],[],[],[],[],[],[],[],[],[]]'), few), undefined)
    for (const cut of ['"', '"\\', '"\\"', '{"a', '', ']]]]'])
      assert.equal(excessOf(Buffer.from(cut), few), undefined, cut)
  })
})

describe('a body of unknown length', () => {
  const chunk = (bytes: string | Uint8Array) =>
    Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), Buffer.from(bytes), Buffer.from('\r\n')])
  const filler = chunk('a'.repeat(60_000))
  const send = async (method: string, path: string, type: string, pieces: readonly Uint8Array[]) => {
    const headers = { 'content-type': type, 'transfer-encoding': 'chunked', connection: 'close' }
    const client = new RawClient(running.server.address).send(request(method, path, '', headers))
    for (const piece of pieces) client.send(piece)
    const [response] = await client.send('0\r\n\r\n').responses()
    return { status: response?.status, code: /"code":"(\w+)"/.exec(response?.body ?? '')?.[1] }
  }

  test('is accepted up to the limit of its route, for every content type', async () => {
    const form = 'multipart/form-data; boundary=x'
    const head = '--x\r\nContent-Disposition: form-data; name="file"; filename="chunked.safetensors"\r\n\r\n'
    const file = chunk(Buffer.concat([Buffer.from(head), taskBytes('sst2'), Buffer.from('\r\n')]))
    const end = chunk('--x--\r\n')
    const flood = new Array<Buffer>(10).fill(filler)
    const field = chunk('--x\r\nContent-Disposition: form-data; name="id"\r\n\r\n')
    assert.equal((await send('POST', '/tasks', form, [file, end])).status, 201)
    assert.equal((await send('POST', '/tasks', form, [filler, chunk('\r\n'), file, end])).status, 200)
    for (const [what, pieces] of [
      ['before the first part', [...flood, chunk('\r\n'), file, end]],
      ['after the last part', [file, end, ...flood]],
      ['a field', [field, ...flood, chunk('\r\n'), file, end]],
      ['a file', [chunk(head), ...flood, chunk('\r\n--x--\r\n')]],
      ['a header', [chunk('--x\r\nContent-Disposition: form-data; name="'), ...flood, chunk('"\r\n\r\n'), end]],
    ] as const)
      assert.deepEqual(await send('POST', '/tasks', form, pieces), { status: 413, code: 'body_too_large' }, what)
    const octets = 'application/octet-stream'
    assert.equal((await send('PUT', '/tasks/chunked', octets, [chunk(taskBytes('sst2'))])).status, 200)
    assert.equal((await send('PUT', '/tasks/chunked', octets, flood)).code, 'body_too_large')
    assert.equal((await send('POST', '/predict', 'application/json', flood.concat(flood))).code, 'body_too_large')
    assert.equal((await send('DELETE', '/tasks/chunked', octets, flood)).status, 204)
    assert.equal((await send('PUT', '/tasks/chunked', octets, [chunk(taskBytes('sst2'))])).status, 201)
  })
})

describe('a body in many small chunks', () => {
  const chunk = (bytes: Buffer) => [Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]
  const inChunks = (bytes: Buffer, size: number) =>
    Buffer.concat(
      Array.from({ length: Math.ceil(bytes.length / size) }, (_, at) =>
        chunk(bytes.subarray(at * size, (at + 1) * size)),
      ).flat(),
    )
  const file = taskBytes('sst2')
  /** More than Node reads at once, in chunks of one byte. */
  const long = Buffer.alloc(20_000)
  const end = '0\r\n\r\n'
  const headers = { 'content-type': 'application/octet-stream', 'transfer-encoding': 'chunked' }
  const client = () => new RawClient(running.server.address)
  const close = { connection: 'close' }
  const upload = (more: Record<string, string> = {}) => request('PUT', '/tasks/chunked', '', { ...headers, ...more })

  test('is accepted unless the chunks are tiny', async () => {
    for (const [size, status] of [
      [17, 200],
      [1_000, 200],
      [1, 400],
    ] as const) {
      const [response] = await client().send(upload(close)).send(inChunks(file, size)).send(end).responses()
      assert.equal(response?.status, status, `${size} bytes per chunk: ${response?.body}`)
    }
  })

  test('is rejected even if larger chunks follow before it is read', async () => {
    const chunks = [inChunks(long.subarray(0, 1_100), 1), ...chunk(long.subarray(1_100))]
    const whole = Buffer.concat([Buffer.from(upload(close)), ...chunks, Buffer.from(end)])
    const [response] = await client().send(whole).responses()
    assert.equal(response?.status, 400, response?.body)
    assert.match(response?.body ?? '', /too many tiny chunks/)
  })

  test('is read slowly but to its end, so that the connection can be reused', async () => {
    const one = client().send(upload()).send(inChunks(long, 1)).send(end)
    one.send(request('GET', '/health/live', '', close))
    assert.deepEqual(
      (await one.responses()).map(({ status }) => status),
      [400, 200],
    )
  })
})

describe('a rejected body', () => {
  let keyed: Running
  before(async () => {
    keyed = await startRunning({ operatorKey, receiveTimeoutMs: '20000' })
  })
  const upload = (bytes: number, headers: Record<string, string> = {}) =>
    request('PUT', '/tasks/x', '', { 'content-type': 'text/css', 'content-length': String(bytes), ...headers })
  const client = () => new RawClient(keyed.server.address)
  const statuses = async (one: RawClient) => (await one.responses()).map(({ status }) => status)

  test('is read if it is short, so that the connection can be reused', async () => {
    const one = client().send(upload(600_000)).send(Buffer.alloc(600_000))
    one.send(request('GET', '/health/live', '', { connection: 'close' }))
    assert.deepEqual(await statuses(one), [401, 200])
  })

  test('is read up to 1 MiB without an API key, and the server does not wait for it', async () => {
    for (const head of [upload(1_000_000_000), request('PUT', '/tasks/x', '', { 'transfer-encoding': 'chunked' })]) {
      const one = client().send(head)
      const piece = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(1 << 20), Buffer.from('\r\n')])
      for (let count = 0; count < 200 && one.socket.writable; count++)
        await new Promise((resolve) => one.socket.write(piece, resolve))
      // Bytes in the buffers of the operating system count as sent.
      assert.ok(one.socket.bytesWritten < 100 << 20, `${one.socket.bytesWritten} bytes were read`)
    }
    const silent = client().send(upload(1_000))
    assert.deepEqual(await statuses(silent), [401])
  })

  test('is read further with an API key, so that the client reads the response', async () => {
    const bytes = 20_000_000
    const one = client().send(upload(bytes, { authorization: `Bearer ${operatorKey}` }))
    await new Promise((resolve) => one.socket.write(Buffer.alloc(bytes), resolve))
    one.send(request('GET', '/health/live', '', { connection: 'close' }))
    const responses = await one.responses()
    assert.deepEqual(
      responses.map(({ status }) => status),
      [413, 200],
    )
  })
})
