import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import fastify from 'fastify'
import { chunkBytes, sendInChunks } from '../../src/http/downloads.js'
import { RawClient, request } from '../raw-client.js'
import { startRunning } from './running.js'

describe('bytes that are sent in chunks', () => {
  const file = Buffer.alloc(12_000_000, 'abcdefg')
  const responses: ServerResponse[] = []
  const app = fastify()
  app.get('/file', async (_request, reply) => {
    responses.push(reply.raw)
    return sendInChunks(reply, file)
  })
  app.get('/empty', async (_request, reply) => sendInChunks(reply, Buffer.alloc(0)))
  after(() => app.close())
  const listening = app.listen({ host: '127.0.0.1', port: 0 })

  test('arrive unchanged, with their length, as HEAD says', async () => {
    const url = await listening
    const [got, head, empty] = await Promise.all([
      fetch(`${url}/file`),
      fetch(`${url}/file`, { method: 'HEAD' }),
      fetch(`${url}/empty`),
    ])
    assert.ok(Buffer.from(await got.arrayBuffer()).equals(file))
    assert.equal(head.headers.get('content-length'), String(file.byteLength))
    assert.equal((await empty.arrayBuffer()).byteLength, 0)
  })

  test('stay in the file, not in buffers of the socket, until the client reads them', async () => {
    responses.length = 0
    const client = new RawClient(await listening)
    client.socket.pause()
    client.send(request('GET', '/file'))
    await delay(300)
    const [response] = responses
    assert.ok(response?.socket)
    assert.ok(response.socket.writableLength > 0)
    assert.ok(response.socket.writableLength <= 2 * chunkBytes, `${response.socket.writableLength} bytes wait`)
    client.socket.resume()
    await once(response, 'finish')
    assert.equal((await client.first(1))[0]?.body.length, file.byteLength)
  })

  test('are released when their client disconnects', async () => {
    responses.length = 0
    const client = new RawClient(await listening)
    client.socket.pause()
    client.send(request('GET', '/file'))
    await delay(100)
    const [response] = responses
    assert.ok(response)
    client.socket.resetAndDestroy()
    await once(response, 'close')
  })
})

describe('the OpenAPI document', () => {
  test('is public, in JSON and YAML', async () => {
    const { app } = await startRunning()
    const json = await app.inject('/docs/json')
    assert.equal(json.headers['content-type'], 'application/json')
    assert.deepEqual(json.json(), JSON.parse(JSON.stringify(app.swagger())))
    const yaml = await app.inject('/docs/yaml')
    assert.match(yaml.body, /^openapi: 3\.1\.0\n/)
    for (const [url, { body, headers }] of [
      ['/docs/json', json],
      ['/docs/yaml', yaml],
    ] as const) {
      assert.equal((await app.inject(url)).body, body)
      const head = await app.inject({ method: 'HEAD', url })
      assert.deepEqual([head.body, head.headers['content-length']], ['', headers['content-length']])
    }
    assert.equal((await app.inject('/docs/')).statusCode, 200)
    assert.equal((await app.inject('/docs/static/swagger-ui.css')).statusCode, 200)
  })
})
