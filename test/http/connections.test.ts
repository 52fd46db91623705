// Connections on a Node server whose responses the tests control: which requests start, and in which order.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Connections, maxPipelined, Request } from '../../src/http/connections.js'
import { responseHeaders } from '../../src/http/response-headers.js'
import { problemWriter } from '../../src/http/socket-problems.js'
import { RawClient, request } from '../raw-client.js'

interface Begun {
  readonly path: string
  readonly request: IncomingMessage
  readonly response: ServerResponse
}

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections()
})

/** A server that starts requests and does not respond to them. */
async function listening(sendTimeoutMs = 60_000, maxConnections = 100) {
  const connections = new Connections(problemWriter(responseHeaders(false), undefined))
  const server = createServer({ IncomingMessage: Request, requireHostHeader: false })
  servers.push(server)
  const begun: Begun[] = []
  let parsed = 0
  server.on('request', () => parsed++)
  server.on('clientError', (error, socket) => connections.failed(socket as Begun['request']['socket'], error))
  connections.serve(server, (request, response) => begun.push({ path: request.url ?? '', request, response }), {
    maxConnections,
    sendTimeoutMs,
  })
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { connections, begun, client: new RawClient(url), connect: () => new RawClient(url), parsed: () => parsed }
}

const get = (path: string) => request('GET', path)
const respond = ({ response, path }: Begun, text = path) =>
  response.setHeader('content-length', Buffer.byteLength(text)).end(text)

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(5)
}

/** Responds to requests in the order in which they start. */
async function respondToAll(begun: Begun[], count: number): Promise<void> {
  for (let at = 0; at < count; at++) {
    await until(() => begun.length > at)
    respond(begun[at] as Begun)
  }
}

describe('a connection', () => {
  test('runs one request at a time; the next starts when the response is sent', async () => {
    const { begun, client } = await listening()
    client.send(get('/a') + get('/b') + get('/c'))
    await until(() => begun.length > 0)
    await delay(50)
    assert.deepEqual(
      begun.map(({ path }) => path),
      ['/a'],
    )
    respond(begun[0] as Begun)
    await until(() => begun.length > 1)
    await delay(50)
    assert.deepEqual(
      begun.map(({ path }) => path),
      ['/a', '/b'],
    )
    respond(begun[1] as Begun)
    await until(() => begun.length > 2)
    respond(begun[2] as Begun)
    const answers = await client.first(3)
    assert.deepEqual(
      answers.map(({ body }) => body),
      ['/a', '/b', '/c'],
    )
  })

  test('starts no request while its client does not read a response', async () => {
    const { begun, client } = await listening()
    client.socket.pause()
    client.send(get('/large') + get('/next'))
    await until(() => begun.length > 0)
    respond(begun[0] as Begun, 'x'.repeat(30_000_000))
    await delay(200)
    assert.equal(begun.length, 1)
    client.socket.resume()
    await until(() => begun.length > 1)
    assert.equal(begun[1]?.path, '/next')
  })

  test('reads the bodies of pipelined requests', async () => {
    const { begun, client } = await listening()
    const bodies = ['first', 'x'.repeat(300_000), 'third']
    client.send(bodies.map((body) => request('POST', '/', body)).join(''))
    for (const [at, body] of bodies.entries()) {
      await until(() => begun.length > at)
      let read = ''
      for await (const piece of begun[at]?.request ?? []) read += piece
      assert.equal(read, body)
      respond(begun[at] as Begun)
    }
    assert.equal((await client.first(3)).length, 3)
  })

  test('can have sixteen pipelined requests at any time', async () => {
    const { begun, client } = await listening()
    const paths = Array.from({ length: 5 * maxPipelined }, (_, at) => `/${at}`)
    const respondTo = async (at: number) => {
      await until(() => begun.length > at)
      respond(begun[at] as Begun)
      await client.first(at + 1)
    }
    for (const [at, path] of paths.entries()) {
      client.send(get(path))
      if (at >= maxPipelined) await respondTo(at - maxPipelined)
    }
    for (let at = paths.length - maxPipelined; at < paths.length; at++) await respondTo(at)
    const answers = await client.first(paths.length)
    assert.deepEqual(
      answers.map(({ body }) => body),
      paths,
    )
  })

  test('gets a 400 for more pipelined requests, and nothing more is parsed', async () => {
    const { begun, client, parsed } = await listening()
    client.send('GET / HTTP/1.1\r\n\r\n'.repeat(3_640))
    const answers = await client.responses()
    assert.deepEqual(
      answers.map(({ status }) => status),
      [400],
    )
    assert.match(answers[0]?.body ?? '', /too many pipelined requests; send at most 16/)
    assert.deepEqual([begun.length, parsed()], [0, maxPipelined + 2])
  })

  test('gets a 400 for pipelined requests with long headers', async () => {
    const { begun, client } = await listening()
    client.send(request('GET', '/', '', { 'x-long': 'x'.repeat(9_000) }).repeat(3))
    const [answered, ...more] = await client.responses()
    assert.deepEqual([answered?.status, more.length, begun.length], [400, 0, 0])
  })

  test('starts no request of a client that has disconnected at once', async () => {
    const { begun, client, parsed } = await listening()
    client.send(get('/a'))
    await until(() => client.socket.bytesWritten > 0)
    client.socket.resetAndDestroy()
    await delay(50)
    assert.deepEqual([begun.length, parsed()], [0, 1])
  })

  test('starts no first request whose body is not HTTP', async () => {
    const { begun, client } = await listening()
    client.send(`${request('POST', '/a', '', { 'transfer-encoding': 'chunked' })}no size\r\n`)
    assert.deepEqual(
      (await client.responses()).map(({ status }) => status),
      [400],
    )
    assert.equal(begun.length, 0)
  })

  test('above the limit replaces the connection that has been idle longest', async () => {
    const { begun, client, connect } = await listening(60_000, 3)
    client.send(get('/active'))
    await until(() => begun.length === 1)
    const held = connect().send('GET /held HTTP/1.1\r\n')
    const used = connect().send(get('/used'))
    await until(() => begun.length === 2)
    respond(begun[1] as Begun)
    await used.first(1)
    const last = connect().send(get('/last'))
    await until(() => begun.length === 3)
    await held.responses()
    assert.deepEqual(
      [client, used, last].map(({ socket }) => socket.readableEnded),
      [false, false, false],
    )
  })

  test('above the limit is closed if every other connection has a running request', async () => {
    const { begun, client, connect } = await listening(60_000, 1)
    client.send(get('/active'))
    await until(() => begun.length === 1)
    const refused = connect().send(get('/refused'))
    await refused.responses()
    assert.deepEqual([begun.length, client.socket.readableEnded], [1, false])
  })

  test('is closed for more pipelined requests if a response is being sent', async () => {
    const { begun, client } = await listening()
    client.send(get('/'))
    await until(() => begun.length > 0)
    begun[0]?.response.writeHead(200, { 'content-length': 10 })
    begun[0]?.response.write('half')
    await once(client.socket, 'data')
    client.send(get('/').repeat(maxPipelined + 1))
    const answers = await client.responses()
    assert.deepEqual(
      answers.map(({ status, body }) => [status, body]),
      [[200, 'half']],
    )
    await until(() => begun[0]?.response.closed === true)
  })

  test('starts no pipelined request after its client disconnects, and closes the running one', async () => {
    const { begun, client } = await listening()
    client.send(get('/a') + get('/b') + get('/c'))
    await until(() => begun.length > 0)
    client.socket.resetAndDestroy()
    await once((begun[0] as Begun).response, 'close')
    assert.equal(begun[0]?.response.writableFinished, false)
    await delay(50)
    assert.equal(begun.length, 1)
  })

  test('serves the requests before invalid bytes, then responds 400 and closes', async () => {
    const { begun, client } = await listening()
    client.send(`${get('/a')}${get('/b')}garbage\r\n\r\n${'more garbage'.repeat(10_000)}`)
    await respondToAll(begun, 2)
    const answers = await client.responses()
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 400],
    )
    assert.match(answers[2]?.headers ?? '', /^x-request-id: [0-9a-f-]{36}\r$/m)
  })

  test('gets a 400 for a CONNECT request, and its errors are handled', async () => {
    const { client } = await listening()
    client.send('CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n')
    const [answered] = await client.responses()
    assert.equal(answered?.status, 400)
    client.socket.resetAndDestroy()
    await delay(50)
  })

  test('is closed after a response with connection: close, without its pipelined requests', async () => {
    const { begun, client } = await listening()
    client.send(get('/a') + get('/b'))
    await until(() => begun.length > 0)
    begun[0]?.response.setHeader('connection', 'close')
    respond(begun[0] as Begun)
    const answers = await client.responses()
    assert.deepEqual(
      answers.map(({ body }) => body),
      ['/a'],
    )
    assert.equal(begun.length, 1)
  })

  test('of a stopping server is closed when it is idle; a running request gets its response', async () => {
    const { begun, client, connections } = await listening()
    client.send(get('/a'))
    await until(() => begun.length > 0)
    const stopped = connections.stop(10_000)
    await delay(250)
    respond(begun[0] as Begun)
    assert.equal((await client.responses()).length, 1)
    await stopped
  })

  test('is closed if its client does not read a response for too long', async () => {
    const { begun, client } = await listening(200)
    client.socket.pause()
    client.send(get('/large') + get('/next'))
    await until(() => begun.length > 0)
    const response = (begun[0] as Begun).response
    respond(begun[0] as Begun, 'x'.repeat(30_000_000))
    await once(response, 'close')
    client.socket.resume()
    const [cut] = await client.responses()
    assert.ok((cut?.body.length ?? 0) < 30_000_000)
    assert.equal(begun.length, 1)
  })
})
