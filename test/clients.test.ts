// Clients that misbehave. Each fault is caused for real, by sockets to a server process. Other clients get their
// responses meanwhile. After a client was cut off the server keeps nothing of it, even if the client keeps its side
// open.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { ClassificationResponse } from './http/running.js'
import { distance, taskBytes, temporaryDirectory } from './material.js'
import { RawClient, request } from './raw-client.js'
import { predict, predictionOf, type ServerProcess, serve } from './server-process.js'

let server: ServerProcess
before(async () => {
  const limits = { headers: 1_000, receive: 2_000, send: 1_000, 'keep-alive': 1_000 }
  const flags = Object.entries(limits).flatMap(([name, ms]) => [`--${name}-timeout-ms`, String(ms)])
  const sizes = ['--max-header-bytes', '4096', '--max-body-bytes', '100000', '--max-upload-bytes', '200000']
  server = await serve(await temporaryDirectory(), '--engines', '2', ...flags, ...sizes)
})

const client = () => new RawClient(server.url)
const codeOf = (body: string) => (JSON.parse(body) as { code: string }).code

/** On a connection of its own: the server closes idle ones after a second, also while a busy machine delays the test. */
const get = (path: string) => fetch(`${server.url}${path}`, { headers: { connection: 'close' } })

/** The sum of a metric over its series, or over those with the given label. */
async function metric(name: string, label = ''): Promise<number> {
  const text = await (await get('/metrics')).text()
  const lines = text.split('\n').filter((line) => new RegExp(`^${name}[ {]`).test(line) && line.includes(label))
  return lines.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
}
const openFiles = () => metric('process_open_fds')
const queued = () => metric('propetl_queue_rows')
const computed = () => metric('propetl_batch_rows_sum')
const cancelled = () => metric('propetl_queue_dropped_rows_total', 'reason="cancelled"')

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await delay(20)
}

/** Waits after `run` until the server has no more open files and sockets than before, and an empty queue. */
async function leavingNothing(run: () => Promise<unknown>): Promise<void> {
  const before = await openFiles()
  await run()
  await until(async () => (await openFiles()) <= before && (await queued()) === 0)
  assert.equal((await get('/health/ready')).status, 200)
}

/** Sends a piece of a request every 100 ms, for longer than any timeout of the server. */
function trickle(to: RawClient, piece: string): void {
  const timer = setInterval(() => to.send(piece), 100)
  to.socket.once('close', () => clearInterval(timer))
  setTimeout(() => clearInterval(timer), 10_000).unref()
}

const json = { 'content-type': 'application/json' }
const upload = { 'content-type': 'application/octet-stream' }
const chunked = { ...json, 'transfer-encoding': 'chunked' }
const predictPath = '/tasks/sst2/predict'
const text = JSON.stringify({ inputs: 'a gorgeous film' })
const many = (count: number, what: string) =>
  JSON.stringify({
    inputs: Array.from({ length: count }, (_, i) => `${what} ${i}, and a rather long sentence about it`),
  })

const scoresOf = ({ predictions }: ClassificationResponse) =>
  predictions.flatMap(({ scores }) => scores.map(({ score }) => score))

describe('a client that', () => {
  test('sends nothing, or its request too slowly, gets 408 and is cut off, while others get responses', () =>
    leavingNothing(async () => {
      const slow: RawClient[] = []
      for (const [begin, piece] of [
        ['', undefined],
        ['GET /tas', undefined],
        ['GET /tasks HTTP/1.1\r\n', 'a: b\r\n'],
        [request('POST', predictPath, '', { ...json, 'content-length': '900' }), ' '],
        [request('PUT', '/tasks/slow', '', { ...upload, 'content-length': '900' }), '\0'],
        [request('POST', predictPath, '', chunked), '1\r\n \r\n'],
      ] as const)
        for (let count = 0; count < 8; count++) {
          const one = client().send(begin)
          if (piece !== undefined) trickle(one, piece)
          slow.push(one)
        }
      const others = Array.from({ length: 20 }, async () => (await predict(server.url, 'sst2')).status)
      assert.deepEqual(new Set(await Promise.all(others)), new Set([200]))
      for (const one of slow) {
        const responses = await one.responses()
        assert.deepEqual(
          responses.map(({ status }) => status),
          [408],
        )
        assert.equal(codeOf(responses[0]?.body ?? ''), 'request_timeout')
      }
      assert.equal((await fetch(`${server.url}/tasks/slow`)).status, 404)
    }))

  test('closes its side before its request is complete gets 400', () =>
    leavingNothing(async () => {
      for (const begun of ['GET /tas', request('POST', predictPath, text).slice(0, -3)]) {
        const one = client().send(begun)
        one.socket.end()
        assert.deepEqual(
          (await one.responses()).map(({ status }) => status),
          [400],
        )
      }
    }))

  test('closes its side after its request counts as disconnected', () =>
    leavingNothing(async () => {
      const one = client().send(request('POST', predictPath, many(200, 'nobody reads this')))
      one.socket.end()
      assert.deepEqual(await one.responses(), [])
    }))

  test('pipelines requests gets the responses in order', () =>
    leavingNothing(async () => {
      const tasks = ['sst2', 'trec', 'cola', 'trec', 'subj', 'sst2']
      const bodies = tasks.map((_, i) => JSON.stringify({ inputs: `the film number ${i}`, raw_scores: true }))
      const expected = await Promise.all(
        tasks.map(async (task, i) => {
          const response = await fetch(`${server.url}/tasks/${task}/predict`, {
            method: 'POST',
            headers: json,
            body: bodies[i] ?? '',
          })
          return predictionOf(response)
        }),
      )
      const one = client().send(tasks.map((task, i) => request('POST', `/tasks/${task}/predict`, bodies[i])).join(''))
      const responses = await one.send(request('GET', '/health/live', '', { connection: 'close' })).responses()
      assert.equal(responses.length, tasks.length + 1)
      for (const [i, response] of expected.entries()) {
        assert.equal(responses[i]?.status, 200)
        const found = JSON.parse(responses[i]?.body ?? '') as ClassificationResponse
        assert.deepEqual([found.task, found.version], [response.task, response.version])
        assert.ok(distance(scoresOf(found), scoresOf(response)) < 1e-4)
      }
      assert.deepEqual(JSON.parse(responses.at(-1)?.body ?? ''), { status: 'live' })
    }))

  const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
  const rejected: [string, string | Uint8Array, number, string][] = [
    [
      'sends headers over the limit',
      `GET /tasks HTTP/1.1\r\nhost: localhost\r\n${'a: b\r\n'.repeat(5_000)}\r\n`,
      431,
      'headers_too_large',
    ],
    ['requests a path over the limit', request('GET', `/${'a'.repeat(9_000)}`), 431, 'headers_too_large'],
    [
      'sends chunks over the limit',
      `${request('POST', predictPath, '', chunked)}${chunk.repeat(20)}0\r\n\r\n`,
      413,
      'body_too_large',
    ],
    [
      'announces a body that is too large even to be discarded',
      request('PUT', '/tasks/large', '', { ...upload, 'content-length': '1000000000000' }),
      413,
      'body_too_large',
    ],
    [
      'sends Expect: 100-continue for a body that is too large',
      request('PUT', '/tasks/large', '', { ...upload, 'content-length': '200001', expect: '100-continue' }),
      413,
      'body_too_large',
    ],
    [
      'sends Expect: 100-continue for an unsupported media type',
      request('PUT', '/tasks/large', '', { 'content-type': 'text/css', 'content-length': '9', expect: '100-continue' }),
      415,
      'unsupported_media_type',
    ],
    ['sends a chunk without a length', `${request('POST', predictPath, '', chunked)}zz\r\n`, 400, 'invalid_request'],
    ['sends two lengths', request('POST', predictPath, text, chunked), 400, 'invalid_request'],
    ['sends no host', 'GET /tasks HTTP/1.1\r\nconnection: close\r\n\r\n', 400, 'invalid_request'],
    ['speaks HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'invalid_request'],
    ['speaks TLS', Buffer.from('16030100a5010000a10303', 'hex'), 400, 'invalid_request'],
    ['requests a tunnel', 'CONNECT localhost:1 HTTP/1.1\r\nhost: localhost\r\n\r\n', 400, 'invalid_request'],
    ['requests an invalid path', request('GET', '/tasks/%zz'), 400, 'invalid_request'],
    ['requests a path with a long name', request('GET', `/tasks/${'a'.repeat(2_000)}`), 400, 'invalid_request'],
    [
      'sends a thousand headers',
      `GET /tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${'a:\r\n'.repeat(1_000)}\r\n`,
      431,
      'headers_too_large',
    ],
    [
      'sends an unknown Expect header',
      request('PUT', '/tasks/x', '', { ...upload, 'content-length': '5', expect: 'a miracle' }),
      417,
      'expectation_failed',
    ],
    [
      'sends two hosts',
      request('GET', '/tasks', '', { Host: 'evil.example', connection: 'close' }),
      400,
      'invalid_request',
    ],
    [
      'compresses its body',
      request('POST', predictPath, '', { ...chunked, 'content-encoding': 'gzip', expect: '100-continue' }),
      415,
      'unsupported_media_type',
    ],
    [
      'pipelines more requests than the limit',
      request('GET', '/docs/static/swagger-ui-bundle.js').repeat(100),
      400,
      'invalid_request',
    ],
    ['sends arbitrary bytes', Uint8Array.of(0, 1, 2, 3, 255), 400, 'invalid_request'],
  ]
  for (const [what, bytes, status, code] of rejected)
    test(`${what} gets ${status} and nothing else`, () =>
      leavingNothing(async () => {
        const [response, ...more] = await client().send(bytes).responses()
        assert.deepEqual([response?.status, more.length], [status, 0])
        assert.match(response?.headers ?? '', /^content-type: application\/problem\+json\r$/m)
        assert.match(response?.headers ?? '', /^x-content-type-options: nosniff\r$/m)
        const problem = JSON.parse(response?.body ?? '') as { code: string; request_id: string }
        assert.equal(problem.code, code)
        assert.match(response?.headers ?? '', new RegExp(`^x-request-id: ${problem.request_id}\r$`, 'm'))
      }))

  test('sends Expect: 100-continue gets 100, and then its response', () =>
    leavingNothing(async () => {
      const [head = '', body = ''] = request('POST', predictPath, text, {
        expect: '100-continue',
        connection: 'close',
      }).split(/(?<=\r\n\r\n)/)
      const one = client().send(head)
      await new Promise((resolve) => one.socket.once('data', resolve))
      const responses = await one.send(body).responses()
      assert.deepEqual(
        responses.map(({ status }) => status),
        [100, 200],
      )
    }))

  test('never reads its responses is cut off', () =>
    leavingNothing(async () => {
      const one = client()
      one.socket.pause()
      // More than the buffers of a connection hold.
      one.send(request('GET', '/docs/static/swagger-ui-bundle.js').repeat(15))
      await until(async () => one.socket.bytesWritten > 0)
      const before = await openFiles()
      await until(async () => (await openFiles()) < before)
      assert.equal(one.socket.closed, false)
    }))

  test('disconnects during an upload leaves no task', () =>
    leavingNothing(async () => {
      const file = taskBytes('sst2')
      const head = request('PUT', '/tasks/half', '', { ...upload, 'content-length': String(file.byteLength) })
      for (let count = 0; count < 10; count++) {
        const one = client().send(head).send(file.subarray(0, 3_000))
        await delay(10)
        one.socket.resetAndDestroy()
      }
      assert.equal((await fetch(`${server.url}/tasks/half`)).status, 404)
    }))

  test('disconnects while its texts are queued has the rest dropped, with or without pipelining', () =>
    leavingNothing(async () => {
      const [computedBefore, cancelledBefore] = [await computed(), await cancelled()]
      const body = many(250, 'somebody waits for text')
      const waiting = fetch(`${server.url}${predictPath}`, { method: 'POST', headers: json, body })
      await until(async () => (await queued()) > 150)
      const leaving = [client(), client()] as const
      leaving[0].send(request('POST', '/tasks/trec/predict', many(80, 'nobody waits for text')).repeat(3))
      leaving[1].send(request('POST', '/tasks/cola/predict', many(60, 'nobody waits for text')))
      // Of pipelined requests only the first has started.
      const sent = 250 + 80 + 60
      await until(async () => (await queued()) + (await computed()) - computedBefore > sent - 100)
      for (const { socket } of leaving) socket.resetAndDestroy()
      assert.equal((await predictionOf(await waiting)).predictions.length, 250)
      await until(
        async () =>
          (await queued()) === 0 &&
          (await computed()) + (await cancelled()) === computedBefore + cancelledBefore + sent,
      )
      assert.ok((await cancelled()) > cancelledBefore)
    }))

  test('disconnects at a random moment, hundreds of times, does not disturb others', () =>
    leavingNothing(async () => {
      let leaving = true
      const leavers = Array.from({ length: 8 }, async () => {
        for (let count = 0; count < 40; count++) {
          const one = client().send(request('POST', predictPath, text))
          await delay(Math.random() * 40)
          one.socket.resetAndDestroy()
        }
      })
      const others = Array.from({ length: 4 }, async () => {
        while (leaving) {
          const response = await predict(server.url, 'sst2')
          assert.equal(response.status, 200)
          assert.equal((await predictionOf(response)).predictions.length, 1)
        }
      })
      await Promise.all(leavers)
      leaving = false
      await Promise.all(others)
    }))
})
