// The TCP proxy that other tests use as a network.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { TcpProxy } from './tcp-proxy.js'

const closeOf = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve))

describe('the TCP proxy', () => {
  let server: Server
  let accepted: Socket[] = []
  before(async () => {
    server = createServer((socket) => {
      accepted.push(socket)
      socket.on('error', () => {})
      socket.pipe(socket)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  after(() => server.close())

  /** A client that is connected to an echo server through a proxy. */
  async function connected() {
    accepted = []
    const proxy = await TcpProxy.start((server.address() as { port: number }).port)
    const client = connect(proxy.port, '127.0.0.1')
    client.on('error', () => {})
    let received = 0
    client.on('data', ({ length }) => {
      received += length
    })
    const echo = async (text: string) => {
      const expected = received + text.length
      client.write(text)
      while (received < expected) await once(client, 'data')
    }
    await echo('hello')
    const [socket] = accepted
    assert.ok(socket)
    const close = () => {
      proxy.close()
      client.destroy()
      socket.destroy()
    }
    return { proxy, client, socket, echo, close, received: () => received }
  }
  const turn = () => new Promise((resolve) => setTimeout(resolve, 50))

  test('forwards bytes, and the end of each side', async () => {
    const { client, socket, echo, close } = await connected()
    await echo('x'.repeat(300_000))
    client.end('and more')
    await Promise.all([closeOf(socket), closeOf(client)])
    assert.equal(client.bytesRead, 300_013)
    close()
  })

  test('limits the bytes per second in one direction', async () => {
    const { proxy, client, socket, echo, close } = await connected()
    proxy.limit({ toTarget: 400_000 })
    const start = performance.now()
    await echo('x'.repeat(100_000))
    assert.ok(performance.now() - start >= 225)
    assert.equal(socket.bytesRead, 100_005)
    proxy.limit({})
    await echo('x'.repeat(100_000))
    assert.equal(client.bytesRead, 200_005)
    close()
  })

  test('holds back bytes and ends while it is frozen', async () => {
    const { proxy, client, socket, close, received } = await connected()
    proxy.freeze()
    client.end('late')
    await turn()
    assert.equal(received(), 5)
    assert.equal(socket.readyState, 'open')
    proxy.limit({})
    await once(client, 'close')
    assert.equal(received(), 9)
    close()
  })

  test('loses a connection after some bytes: the target has received a part, and sees no end', async () => {
    const { proxy, client, socket, close } = await connected()
    proxy.loseAfter(1_000)
    client.write('x'.repeat(10_000))
    while (socket.bytesRead < 1_005) await turn()
    client.destroy()
    await turn()
    assert.equal(socket.bytesRead, 1_005)
    assert.equal(socket.readyState, 'open')
    const other = connect(proxy.port, '127.0.0.1')
    other.end('others pass')
    await once(other.resume(), 'end')
    close()
  })

  test('resets its connections, and refuses new ones while told to', async () => {
    const { proxy, client, socket, close } = await connected()
    const closed = [client, socket].map(closeOf)
    proxy.cut()
    await Promise.all(closed)
    proxy.refuse = true
    const refused = connect(proxy.port, '127.0.0.1').on('error', () => {})
    await closeOf(refused)
    assert.equal(refused.bytesRead, 0)
    close()
  })

  test('is a black hole: drops bytes and ends, and forwards bytes that are sent afterwards', async () => {
    const { proxy, client, socket, echo, close, received } = await connected()
    proxy.blackHole = true
    client.write('lost')
    await turn()
    proxy.blackHole = false
    await echo('carried')
    assert.equal(received(), 12)
    proxy.blackHole = true
    client.destroy()
    await turn()
    assert.equal(socket.readyState, 'open')
    close()
  })
})
