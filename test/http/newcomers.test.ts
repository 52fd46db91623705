// What a newcomer tries first: every example of the description works, and every mistake is answered with its cause and
// what to do.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import type { InjectOptions } from 'fastify'
import { type Running, startRunning } from './running.js'

const operatorKey = 'o'.repeat(40)
let running: Running
let keyed: Running
before(async () => {
  running = await startRunning()
  keyed = await startRunning({ operatorKey })
})

describe('the description of the API', () => {
  interface Operation {
    readonly operationId: string
    readonly parameters?: readonly { readonly name: string; readonly in: string; readonly example?: unknown }[]
    readonly requestBody?: { readonly content: Record<string, { readonly example?: unknown }> }
  }

  test('has examples that are answered as they are', async () => {
    const { paths } = (await running.app.inject('/docs/json')).json<{
      paths: Record<string, Record<string, Operation>>
    }>()
    const operations = Object.entries(paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
    )
    // What is made comes first, what is removed last. A page in the browser cannot guess a file, or a key's id.
    const order = ['put', 'post', 'patch', 'get']
    const tried = operations
      .filter(({ operation: { operationId } }) => !['uploadTask', 'putTask', 'createTask'].includes(operationId))
      .filter(({ method }) => order.includes(method))
      .sort((a, b) => order.indexOf(a.method) - order.indexOf(b.method))
    assert.ok(tried.length >= 10)
    for (const { path, method, operation } of tried) {
      const { parameters = [], requestBody } = operation
      const example = requestBody?.content['application/json']?.example
      if (requestBody !== undefined && example === undefined) {
        assert.ok(
          Object.keys(requestBody.content).every((type) => type !== 'application/json'),
          path,
        )
        continue
      }
      const of = (place: string) => parameters.filter((parameter) => parameter.in === place && parameter.example)
      const url = of('path').reduce((url, { name, example }) => url.replace(`{${name}}`, String(example)), path)
      const answer = await keyed.app.inject({
        method: method.toUpperCase() as 'GET',
        url,
        headers: {
          authorization: `Bearer ${operatorKey}`,
          ...Object.fromEntries(of('header').map(({ name, example }) => [name, String(example)])),
        },
        ...(example !== undefined && { payload: example as object }),
      })
      assert.ok([200, 201].includes(answer.statusCode), `${method} ${url}: ${answer.statusCode} ${answer.body}`)
    }
  })
})

describe('a mistake', () => {
  const json = { 'content-type': 'application/json' }
  const octets = { 'content-type': 'application/octet-stream' }
  const predict = (payload: object | string): InjectOptions => ({
    method: 'POST',
    url: '/tasks/sst2/predict',
    headers: json,
    payload,
  })
  const upload = (payload: Buffer | string): InjectOptions => ({
    method: 'PUT',
    url: '/tasks/mine',
    headers: octets,
    payload,
  })
  const mistakes: Record<string, readonly [InjectOptions, number, RegExp]> = {
    'text in place of inputs': [
      predict({ text: 'a film' }),
      400,
      /body\/text is not a known field; known are inputs, top_k, raw_scores, threshold, truncate/,
    ],
    'a misspelt field of an input': [
      predict({ inputs: [{ text: 'a', textPair: 'b' }] }),
      400,
      /inputs\/0\/textPair is not a known field; known are text, text_pair/,
    ],
    'a trailing comma': [predict('{"inputs": "a",}'), 400, /not JSON: .*position 15/],
    'a body that is cut': [predict('{"inputs": "a"'), 400, /not JSON: .*position 14/],
    'single quotes': [predict("{'inputs': 'a'}"), 400, /not JSON: .*position 1/],
    'an empty body': [predict(''), 400, /the body is empty; expected JSON/],
    'a misspelt parameter of the query': [
      { url: '/tasks?limits=5' },
      400,
      /querystring\/limits is not a known field; known are after, limit/,
    ],
    'a parameter where there is none': [
      { ...predict({ inputs: 'a' }), url: '/tasks/sst2/predict?top_k=1' },
      400,
      /querystring\/top_k is not taken here/,
    ],
    'a table in place of a task file': [
      upload('text,label\na,b\n'),
      400,
      /a text that begins with "text,label".*propetl learn/,
    ],
    'a table with a long line': [
      upload(`${'id,text,label,'.repeat(20)}\n`),
      400,
      /a text that begins with "id,text,label/,
    ],
    'a page of an error': [upload('<!doctype html><title>404</title>'), 400, /begins with "<!doctype html>/],
    'a Git LFS pointer': [
      upload('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5000\n'),
      400,
      /a Git LFS pointer: fetch the file itself/,
    ],
    'a zip archive': [upload(Buffer.concat([Buffer.from('PK\x03\x04'), Buffer.alloc(100, 7)])), 400, /a zip archive/],
    'a compressed file': [upload(gzipSync('a'.repeat(10_000))), 400, /compressed with gzip/],
  }
  for (const [what, [request, status, detail]] of Object.entries(mistakes))
    test(`${what} is answered with its cause`, async () => {
      const answer = await running.app.inject(request)
      assert.equal(answer.statusCode, status, answer.body)
      assert.match(answer.json<{ detail: string }>().detail, detail)
    })

  test('the bare address says where to go', async () => {
    const { statusCode, body } = await running.app.inject('/')
    assert.equal(statusCode, 200)
    for (const path of Object.values(JSON.parse(body)).filter((value) => String(value).startsWith('/')))
      assert.equal((await running.app.inject(String(path))).statusCode, 200, String(path))
  })
})

describe('PATCH of a tenant', () => {
  const ask = async (method: 'PUT' | 'PATCH', payload: object, id = 'patched') => {
    const headers = { authorization: `Bearer ${operatorKey}` }
    const answer = await keyed.app.inject({ method, url: `/tenants/${id}`, headers, payload })
    return { status: answer.statusCode, ...answer.json<{ limits: object; share: number; code?: string }>() }
  }

  test('keeps what it does not name, where PUT lifts it', async () => {
    await ask('PUT', { limits: { tasks: 5, bytes: 1_000 }, share: 3 })
    const patched = await ask('PATCH', { limits: { tasks: 7 } })
    assert.deepEqual(
      [patched.status, patched.limits, patched.share],
      [200, { tasks: 7, bytes: 1_000, requests_per_second: null, tokens_per_second: null }, 3],
    )
    assert.deepEqual((await ask('PATCH', { limits: { bytes: null }, share: 2 })).limits, {
      tasks: 7,
      bytes: null,
      requests_per_second: null,
      tokens_per_second: null,
    })
    assert.deepEqual((await ask('PUT', { limits: { tasks: 1 } })).share, 1)
  })

  test('makes no tenant', async () => {
    assert.deepEqual((await ask('PATCH', {}, 'nobody')).code, 'unknown_tenant')
  })
})
