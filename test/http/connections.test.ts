// Connections on a server of Node's that answers when the test says so: what is begun, in which order, and what is not.

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

/** A server that begins requests and leaves them unanswered. */
async function listening(sendTimeoutMs = 60_000) {
  const connections = new Connections(problemWriter(responseHeaders(false), undefined))
  const server = createServer({ IncomingMessage: Request, requireHostHeader: false })
  servers.push(server)
  const begun: Begun[] = []
  let parsed = 0
  server.on('request', () => parsed++)
  server.on('clientError', (error, socket) => connections.failed(socket as Begun['request']['socket'], error))
  connections.serve(
    server,
    (request, response) => begun.push({ path: request.url ?? '', request, response }),
    sendTimeoutMs,
  )
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return { connections, begun, client: new RawClient(url), parsed: () => parsed }
}

const get = (path: string) => request('GET', path)
const answer = ({ response, path }: Begun, text = path) =>
  response.setHeader('content-length', Buffer.byteLength(text)).end(text)

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await delay(5)
}

/** Answers whatever is begun, in the order of its beginning. */
async function answerAll(begun: Begun[], count: number): Promise<void> {
  for (let at = 0; at < count; at++) {
    await until(() => begun.length > at)
    answer(begun[at] as Begun)
  }
}

describe('a connection', () => {
  test('has one request at work; the next is begun when its answer is sent', async () => {
    const { begun, client } = await listening()
    client.send(get('/a') + get('/b') + get('/c'))
    await until(() => begun.length > 0)
    await delay(50)
    assert.deepEqual(
      begun.map(({ path }) => path),
      ['/a'],
    )
    answer(begun[0] as Begun)
    await until(() => begun.length > 1)
    await delay(50)
    assert.deepEqual(
      begun.map(({ path }) => path),
      ['/a', '/b'],
    )
    answer(begun[1] as Begun)
    await until(() => begun.length > 2)
    answer(begun[2] as Begun)
    const answers = await client.first(3)
    assert.deepEqual(
      answers.map(({ body }) => body),
      ['/a', '/b', '/c'],
    )
  })

  test('begins nothing while an answer is not taken by its client', async () => {
    const { begun, client } = await listening()
    client.socket.pause()
    client.send(get('/large') + get('/next'))
    await until(() => begun.length > 0)
    answer(begun[0] as Begun, 'x'.repeat(30_000_000))
    await delay(200)
    assert.equal(begun.length, 1)
    client.socket.resume()
    await until(() => begun.length > 1)
    assert.equal(begun[1]?.path, '/next')
  })

  test('reads the bodies of requests that waited', async () => {
    const { begun, client } = await listening()
    const bodies = ['first', 'x'.repeat(300_000), 'third']
    client.send(bodies.map((body) => request('POST', '/', body)).join(''))
    for (const [at, body] of bodies.entries()) {
      await until(() => begun.length > at)
      let read = ''
      for await (const piece of begun[at]?.request ?? []) read += piece
      assert.equal(read, body)
      answer(begun[at] as Begun)
    }
    assert.equal((await client.first(3)).length, 3)
  })

  test('may have sixteen requests waiting at any time, however many follow', async () => {
    const { begun, client } = await listening()
    const paths = Array.from({ length: 5 * maxPipelined }, (_, at) => `/${at}`)
    const answerAt = async (at: number) => {
      await until(() => begun.length > at)
      answer(begun[at] as Begun)
      await client.first(at + 1)
    }
    for (const [at, path] of paths.entries()) {
      client.send(get(path))
      if (at >= maxPipelined) await answerAt(at - maxPipelined)
    }
    for (let at = paths.length - maxPipelined; at < paths.length; at++) await answerAt(at)
    const answers = await client.first(paths.length)
    assert.deepEqual(
      answers.map(({ body }) => body),
      paths,
    )
  })

  test('with more waiting than it may is answered 400 at once, and what follows is not parsed', async () => {
    const { begun, client, parsed } = await listening()
    client.send('GET / HTTP/1.1\r\n\r\n'.repeat(3_640))
    const answers = await client.responses()
    assert.deepEqual(
      answers.map(({ status }) => status),
      [400],
    )
    assert.match(answers[0]?.body ?? '', /at most 16 requests may wait on a connection/)
    assert.equal(begun.length, 1)
    assert.equal(parsed(), maxPipelined + 2)
    await until(() => begun[0]?.response.closed === true)
  })

  test('with long headers waiting is answered 400 as well', async () => {
    const { begun, client } = await listening()
    client.send(request('GET', '/', '', { 'x-long': 'x'.repeat(9_000) }).repeat(3))
    const [answered, ...more] = await client.responses()
    assert.deepEqual([answered?.status, more.length, begun.length], [400, 0, 1])
  })

  test('with more waiting than it may is cut off where an answer is being sent', async () => {
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

  test('whose client leaves begins nothing of what waits, and tells the request at work', async () => {
    const { begun, client } = await listening()
    client.send(get('/a') + get('/b') + get('/c'))
    await until(() => begun.length > 0)
    client.socket.resetAndDestroy()
    await once((begun[0] as Begun).response, 'close')
    assert.equal(begun[0]?.response.writableFinished, false)
    await delay(50)
    assert.equal(begun.length, 1)
  })

  test('that sends garbage behind a request is answered in order, and closed', async () => {
    const { begun, client } = await listening()
    client.send(`${get('/a')}${get('/b')}garbage\r\n\r\n${'more garbage'.repeat(10_000)}`)
    await answerAll(begun, 2)
    const answers = await client.responses()
    assert.deepEqual(
      answers.map(({ status }) => status),
      [200, 200, 400],
    )
    assert.match(answers[2]?.headers ?? '', /^x-request-id: [0-9a-f-]{36}\r$/m)
  })

  test('that asks to be a tunnel is answered 400, and may fail', async () => {
    const { client } = await listening()
    client.send('CONNECT example.com:443 HTTP/1.1\r\nhost: example.com\r\n\r\n')
    const [answered] = await client.responses()
    assert.equal(answered?.status, 400)
    client.socket.resetAndDestroy()
    await delay(50)
  })

  test('is closed behind an answer that says so, with what waits', async () => {
    const { begun, client } = await listening()
    client.send(get('/a') + get('/b'))
    await until(() => begun.length > 0)
    begun[0]?.response.setHeader('connection', 'close')
    answer(begun[0] as Begun)
    const answers = await client.responses()
    assert.deepEqual(
      answers.map(({ body }) => body),
      ['/a'],
    )
    assert.equal(begun.length, 1)
  })

  test('of a server that stops ends when it is idle; a request at work is answered', async () => {
    const { begun, client, connections } = await listening()
    client.send(get('/a'))
    await until(() => begun.length > 0)
    const stopped = connections.stop(10_000)
    await delay(250)
    answer(begun[0] as Begun)
    assert.equal((await client.responses()).length, 1)
    await stopped
  })

  test('whose client takes nothing of an answer for too long is cut off', async () => {
    const { begun, client } = await listening(200)
    client.socket.pause()
    client.send(get('/large') + get('/next'))
    await until(() => begun.length > 0)
    const response = (begun[0] as Begun).response
    answer(begun[0] as Begun, 'x'.repeat(30_000_000))
    await once(response, 'close')
    client.socket.resume()
    const [cut] = await client.responses()
    assert.ok((cut?.body.length ?? 0) < 30_000_000)
    assert.equal(begun.length, 1)
  })
})
