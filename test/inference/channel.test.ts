import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import fc from 'fast-check'
import { Type } from 'typebox'
import { defineCall, defineNotice } from '../../src/inference/calls.js'
import { Channel, type ChannelOptions } from '../../src/inference/channel.js'
import { MalformedMessage } from '../../src/inference/malformed-message.js'
import { encodePacket, PacketReader, prepareMessage } from '../../src/inference/packets.js'
import { version } from '../../src/package.js'
import { Problem } from '../../src/problem.js'
import type { CancelSignal } from '../../src/scheduler/submission.js'
import { connectedSockets } from './sockets.js'

const double = defineCall('double', Type.Number(), Type.Number())
const echo = defineCall('echo', Type.Null(), Type.Null())
const note = defineNotice('note', Type.String())

async function connectedChannels(
  t: TestContext,
  asking: Partial<ChannelOptions> = {},
  serving: Partial<ChannelOptions> = {},
) {
  const [a, b] = await connectedSockets(t)
  const client = new Channel(a, { peer: 'the server', whenFull: 'reject', ...asking })
  const server = new Channel(b, { peer: 'the client', whenFull: 'pause', ...serving })
  return { client, server }
}

/** A channel, and the bare socket of its peer, which has greeted it. */
async function channelAndPeer(t: TestContext, options: Partial<ChannelOptions> = {}) {
  const [a, peer] = await connectedSockets(t)
  const channel = new Channel(a, { peer: 'the peer', whenFull: 'reject', ...options })
  channel.serve(double, ({ body }) => [{ body: 2 * body }])
  channel.listen(note, () => {})
  // The channel may close the connection before it has read everything.
  peer.on('error', () => {})
  peer.write(packet(['hello', `propetl/${version}`]))
  await channel.ready
  return { channel, peer }
}

const packet = (...heads: readonly unknown[]) => encodePacket(heads.map((head) => prepareMessage({ head, arrays: [] })))

describe('a channel', () => {
  test('returns each response to its request, in whatever order the peer responds', async (t) => {
    const { client, server } = await connectedChannels(t)
    const waits = [30, 10, 20, 0]
    server.serve(double, async ({ body }) => {
      await wait(waits[body])
      return [{ body: 2 * body }]
    })
    const responses = await Promise.all(waits.map((_, body) => client.request(double, { body })))
    assert.deepEqual(
      responses.map(([part]) => part?.body),
      [0, 2, 4, 6],
    )
  })

  test('carries arrays and several parts of a response', async (t) => {
    const { client, server } = await connectedChannels(t)
    server.serve(echo, ({ arrays }) => arrays.map((values) => ({ body: null, arrays: [values] })))
    const arrays = [Int32Array.of(1, -2), new Float32Array(3_000_000).fill(0.1), Uint8Array.of(3)]
    const parts = await client.request(echo, { body: null, arrays })
    assert.deepEqual(
      parts.map((part) => part.arrays),
      arrays.map((values) => [values]),
    )
  })

  test('writes all messages of a turn in one packet', async (t) => {
    const { channel, peer } = await channelAndPeer(t)
    const received: Buffer[] = []
    peer.on('data', (chunk: Buffer) => received.push(chunk))
    const texts = Array.from({ length: 100 }, (_, text) => String(text))
    for (const text of texts) channel.notify(note, text)
    const greeting = packet(['hello', `propetl/${version}`])
    const expected = Buffer.concat([greeting, packet(...texts.map((text) => ['notice', 'note', text]))])
    while (Buffer.concat(received).length < expected.length) await wait(1)
    assert.deepEqual(Buffer.concat(received), expected)
  })

  test('passes on the code, the message and the details of a Problem', async (t) => {
    const { client, server } = await connectedChannels(t)
    const problem = new Problem('overloaded', 'the queue is full – try “later”', {
      room: 0,
      retry_after_s: 2,
      of: { a: [1] },
    })
    server.serve(double, () => {
      throw problem
    })
    await assert.rejects(client.request(double, { body: 1 }), (error) => {
      assert.ok(error instanceof Problem)
      const { code, message, details } = error
      assert.deepEqual(
        { code, message, details },
        { code: problem.code, message: problem.message, details: problem.details },
      )
      return true
    })
  })

  test('passes on the message of any other error, which fails only its request', async (t) => {
    const { client, server } = await connectedChannels(t)
    server.serve(double, async ({ body }) => {
      if (body === 1) throw new TypeError('the engine failed')
      return [{ body: 2 * body }]
    })
    await assert.rejects(client.request(double, { body: 1 }), { name: 'Error', message: 'the engine failed' })
    assert.equal((await client.request(double, { body: 2 }))[0]?.body, 4)
  })

  test('tells the peer that a request is cancelled', async (t) => {
    const { client, server } = await connectedChannels(t)
    server.serve(
      double,
      (_, signal) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(new Problem('client_closed_request', 'cancelled')), {
            once: true,
          })
        }),
    )
    const controller = new AbortController()
    const response = client.request(double, { body: 1 }, controller.signal)
    controller.abort()
    await assert.rejects(response, { code: 'client_closed_request' })
  })

  test('fails all requests of both sides when one side closes it, and cancels their work with the reason', async (t) => {
    const { client, server } = await connectedChannels(t)
    const reasons: unknown[] = []
    const never = (_: unknown, signal: CancelSignal) =>
      new Promise<never>(() => signal.addEventListener('abort', () => reasons.push(signal.reason), { once: true }))
    server.serve(double, never)
    client.serve(double, never)
    const failures = Promise.all([
      assert.rejects(client.request(double, { body: 1 }), {
        code: 'engine_lost',
        message: 'the connection to the server has ended: it closed the connection',
      }),
      assert.rejects(server.request(double, { body: 1 }), {
        code: 'engine_lost',
        message: 'the connection to the client has ended: this process closed the connection',
      }),
    ])
    await wait(20)
    server.close()
    await failures
    await assert.rejects(client.request(double, { body: 1 }), { code: 'engine_lost' })
    const losses = [await server.ended, await client.ended]
    assert.deepEqual(reasons, losses)
    client.notify(note, 'is sent to nobody')
  })

  test('ends if the peer is of another version', async (t) => {
    const [a, peer] = await connectedSockets(t)
    const channel = new Channel(a, { peer: 'worker 1', whenFull: 'pause' })
    peer.write(packet(['hello', 'propetl/0.0.1']))
    await assert.rejects(channel.ready, {
      code: 'engine_lost',
      message: `the connection to worker 1 has ended: it sent what cannot be read: it speaks "propetl/0.0.1"; expected "propetl/${version}"`,
    })
  })
})

const hostile: Readonly<Record<string, Buffer>> = {
  'bytes of another protocol': Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(10)),
  'a size of 4 GiB': Buffer.alloc(64, 0xff),
  'a message of an unknown form': packet(['unknown', 1]),
  'a message that is no list': packet('request'),
  'an id that is no number': packet(['request', '1', 'double', 1]),
  'a request that does not exist': packet(['request', 1, '__proto__', 1]),
  'a request with an invalid body': packet(['request', 1, 'double', 'one']),
  'two requests with one id': packet(['request', 1, 'wait', null], ['request', 1, 'wait', null]),
  'a notice that does not exist': packet(['notice', 'constructor', 1]),
  'a notice with an invalid body': packet(['notice', 'note', 1]),
  'a response to no request': packet(['part', 99, true, 1]),
  'a failure of no request': packet(['failure', 99, 'text', null, {}]),
  'a response with an invalid body': packet(['part', 0, true, 'two']),
  'a failure without details': packet(['failure', 0, 'text', 'overloaded', null]),
  'a second greeting': packet(['hello', `propetl/${version}`]),
}

describe('a peer that sends what cannot be read', () => {
  for (const [name, bytes] of Object.entries(hostile))
    test(`is given up after ${name}`, async (t) => {
      const { channel, peer } = await channelAndPeer(t)
      channel.serve(defineCall('wait', Type.Null(), Type.Null()), () => new Promise(() => {}))
      const failure = channel.request(double, { body: 1 }).catch((error) => error)
      peer.write(bytes)
      const loss = await channel.ended
      assert.match(loss.message, /the connection to the peer has ended: it sent what cannot be read: /)
      assert.equal(await failure, loss)
      peer.resume()
      if (!peer.closed) await once(peer, 'close')
    })

  test('is given up if it sends anything before its greeting', async (t) => {
    const [a, peer] = await connectedSockets(t)
    const channel = new Channel(a, { peer: 'the peer', whenFull: 'pause' })
    channel.serve(double, ({ body }) => [{ body }])
    peer.write(packet(['request', 0, 'double', 1]))
    assert.match((await channel.ended).message, /the first message is not a greeting/)
  })

  test('is given up if a handler finds its request malformed', async (t) => {
    const { channel, peer } = await channelAndPeer(t)
    channel.serve(echo, () => {
      throw new MalformedMessage('the arrays do not match')
    })
    peer.write(packet(['request', 0, 'echo', null]))
    assert.match((await channel.ended).message, /has ended: the arrays do not match/)
  })

  test('of random messages gets responses or is given up, and nothing else happens', async (t) => {
    const word = fc.constantFrom('request', 'part', 'notice', 'failure', 'cancel', 'double', 'note', 0, 1, true, null)
    const heads = fc.array(fc.array(fc.oneof(word, fc.jsonValue()), { maxLength: 6 }), { minLength: 1, maxLength: 4 })
    for (const messages of fc.sample(heads, 100)) {
      const { channel, peer } = await channelAndPeer(t)
      peer.resume()
      peer.end(packet(...messages))
      assert.match((await channel.ended).message, /^the connection to the peer has ended: it (sent what|closed)/)
    }
  })
})

describe('a peer that reads slowly', () => {
  const megabyte = new Float32Array(2 ** 18)
  const limit = 4 * 2 ** 20

  test('gets everything in the end, and is not read while too much waits for it', async (t) => {
    const [a, peer] = await connectedSockets(t)
    const server = new Channel(a, { peer: 'the peer', whenFull: 'pause', maxWaitingBytes: limit })
    let handled = 0
    server.serve(echo, () => {
      handled++
      return [{ body: null, arrays: [megabyte] }]
    })
    peer.write(packet(['hello', `propetl/${version}`]))
    await server.ready
    peer.pause()
    const requests = 64
    let most = 0
    for (let id = 0; id < requests; id++) {
      peer.write(packet(['request', id, 'echo', null]))
      await wait(1)
      most = Math.max(most, server.waitingBytes)
    }
    assert.ok(handled < 16, `${handled} requests were handled`)
    assert.ok(most < 3 * limit, `${most} bytes waited`)
    const reader = new PacketReader()
    let responses = 0
    peer.on('data', (chunk: Buffer) => {
      for (const { arrays } of reader.read(chunk)) responses += arrays.length
    })
    peer.resume()
    while (responses < requests) await wait(5)
    assert.equal(handled, requests)
  })

  test('gets no further requests while too much waits for it', async (t) => {
    const { channel, peer } = await channelAndPeer(t, { maxWaitingBytes: limit })
    peer.pause()
    const pending: Promise<unknown>[] = []
    let rejected: unknown
    while (rejected === undefined) {
      assert.ok(pending.length < 64, 'no request was rejected')
      const request = channel.request(echo, { body: null, arrays: [megabyte] })
      pending.push(request.catch(() => {}))
      rejected = await Promise.race([request.catch((error) => error), wait(1)])
    }
    assert.ok(rejected instanceof Problem)
    assert.equal(rejected.code, 'overloaded')
    assert.match(rejected.message, /^the peer has not read \d+ bytes that were sent to it; the limit is 4194304/)
    channel.close()
    await Promise.all(pending)
  })

  test('is given up when it disconnects while it is not read', async (t) => {
    const { channel, peer } = await channelAndPeer(t, { whenFull: 'pause', maxWaitingBytes: limit })
    channel.serve(echo, () => [{ body: null, arrays: [megabyte] }])
    peer.write(packet(...Array.from({ length: 16 }, (_, id) => ['request', id, 'echo', null])))
    while (channel.waitingBytes <= limit) await wait(1)
    peer.destroy()
    assert.equal((await channel.ended).code, 'engine_lost')
  })

  test('is given up if it reads nothing for a long time', async (t) => {
    const { channel, peer } = await channelAndPeer(t, { stallMs: 100 })
    peer.pause()
    const response = channel.request(echo, { body: null, arrays: [megabyte, megabyte, megabyte, megabyte] })
    await assert.rejects(response, { code: 'engine_lost', message: /it has read nothing for 100 ms/ })
  })
})
