// How much of one kind of work a turn of the event loop does.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as createNetServer } from 'node:net'
import { describe, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { BodyTurns, piecesPerTurn } from '../../src/http/body-turns.js'
import { Request } from '../../src/http/connections.js'
import { LaterTurns } from '../../src/http/later-turns.js'
import { Metrics } from '../../src/http/metrics.js'
import { Lifecycle } from '../../src/http/services.js'
import { SlowReads } from '../../src/http/slow-reads.js'
import { RawClient, request } from '../raw-client.js'

describe('long bodies', () => {
  test('are read a few pieces per turn, and owners take turns', async () => {
    const turns = new BodyTurns()
    const resumed: string[] = []
    const read = (owner: string, body: string) =>
      turns.pieceRead(owner, {
        isReading: true,
        pauseReading: () => paused.push(body),
        resumeReading: () => resumed.push(body),
      })
    const paused: string[] = []
    for (let piece = 0; piece < piecesPerTurn; piece++) read('a', 'first')
    assert.deepEqual(paused, [])
    const bodies = Array.from({ length: 6 }, (_, at) => `a${at}`)
    for (const body of bodies) read('a', body)
    read('b', 'b0')
    assert.deepEqual(paused, [...bodies, 'b0'])
    await nextTurn()
    assert.deepEqual(resumed.splice(0), ['a0', 'b0', 'a1', 'a2'])
    await nextTurn()
    assert.deepEqual(resumed, ['a3', 'a4', 'a5'])
  })

  test('that arrive on many sockets are read a few pieces per turn', async () => {
    const [bodies, bytes] = [8, 2 * 1024 * 1024]
    const turns = new BodyTurns()
    const received: number[] = []
    let [pieces, most] = [0, 0]
    const server = createServer({ IncomingMessage: Request }, (body, response) => {
      const at = received.push(0) - 1
      body.on('data', (piece: Buffer) => {
        received[at] = (received[at] ?? 0) + piece.length
        most = Math.max(most, ++pieces)
        turns.pieceRead('a', body)
      })
      body.on('end', () => response.end())
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const head = request('PUT', '/', '', { 'content-length': String(bytes), connection: 'close' })
    const answered = Array.from({ length: bodies }, () =>
      new RawClient(url).send(head).send(Buffer.alloc(bytes)).responses(),
    )
    const responses = Promise.all(answered).finally(() => server.close())
    while (server.listening) {
      await nextTurn()
      pieces = 0
    }
    await responses
    assert.deepEqual(
      received,
      Array.from({ length: bodies }, () => bytes),
    )
    // A body that has just arrived has a piece before it is paused.
    assert.ok(most <= piecesPerTurn + bodies, `${most} pieces in one turn`)
  })
})

describe('sockets with tiny pieces', () => {
  test('are read one after another, and those that close lose their turns', async () => {
    const server = createNetServer()
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const { port } = server.address() as AddressInfo
    const reads = new SlowReads()
    const sockets = Array.from({ length: 4 }, () => connect(port, '127.0.0.1'))
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    const read: number[] = []
    const last = new Promise<void>((resolve) => {
      for (const [at, socket] of sockets.entries())
        reads.wait(socket, () => {
          read.push(at)
          if (at === 3) resolve()
        })
    })
    for (const socket of sockets.slice(1, 3)) socket.destroy()
    await last
    assert.deepEqual(read, [0, 3])
    for (const socket of sockets) socket.destroy()
    server.close()
  })
})

describe('work for later turns', () => {
  test('starts in order, after the sockets were polled again, and only some in a turn', async () => {
    const later = new LaterTurns()
    const done: number[] = []
    for (let at = 0; at < 20; at++) later.add(() => done.push(at))
    const counts: number[] = []
    for (let turn = 0; turn < 5; turn++) {
      await nextTurn()
      counts.push(done.length)
    }
    assert.deepEqual(counts, [0, 8, 16, 20, 20])
    assert.deepEqual(
      done,
      Array.from({ length: 20 }, (_, at) => at),
    )
  })
})

describe('the text of the metrics', () => {
  test('is written once for requests that wait at the same time, and is no older than they are', async () => {
    const metrics = new Metrics(new Lifecycle(), 0)
    let written = 0
    const write = metrics.registry.metrics.bind(metrics.registry)
    metrics.registry.metrics = () => {
      written++
      return write()
    }
    await metrics.text()
    metrics.rejected('room')
    const texts = await Promise.all(Array.from({ length: 500 }, () => metrics.text()))
    assert.equal(written, 2)
    for (const text of texts) assert.match(text, /^propetl_refused_requests_total\{reason="room"\} 1$/m)
  })
})
