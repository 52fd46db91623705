// What clients can do to a server: each fault is caused for real, by sockets to a server process. The others are answered
// meanwhile, and nothing of a client is left when it was cut off, though it keeps its side of the connection.

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
  server = await serve(await temporaryDirectory(), ...flags, ...sizes)
})

const client = () => new RawClient(server.url)
const codeOf = (body: string) => (JSON.parse(body) as { code: string }).code

/** Sums of the server's metrics of a name, with the given label if any. */
async function metric(name: string, label = ''): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
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

/** Runs something, and waits until the server has as few files and sockets open as before, and nothing to compute. */
async function leavingNothing(run: () => Promise<unknown>): Promise<void> {
  const before = await openFiles()
  await run()
  await until(async () => (await openFiles()) <= before && (await queued()) === 0)
  assert.equal((await fetch(`${server.url}/health/ready`)).status, 200)
}

/** Sends a piece of a request every tenth of a second, for longer than any limit allows. */
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
  test('sends nothing, or its request too slowly, is answered 408 and cut off, while others are answered', () =>
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
        const answers = await one.responses()
        assert.deepEqual(
          answers.map(({ status }) => status),
          [408],
        )
        assert.equal(codeOf(answers[0]?.body ?? ''), 'request_timeout')
      }
      assert.equal((await fetch(`${server.url}/tasks/slow`)).status, 404)
    }))

  test('closes its side before its request is whole is answered 400', () =>
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

  test('closes its side behind its request counts as one that left', () =>
    leavingNothing(async () => {
      const one = client().send(request('POST', predictPath, many(200, 'nobody reads this')))
      one.socket.end()
      assert.deepEqual(await one.responses(), [])
    }))

  test('pipelines requests gets their answers in their order', () =>
    leavingNothing(async () => {
      const tasks = ['sst2', 'trec', 'cola', 'trec', 'subj', 'sst2']
      const bodies = tasks.map((_, i) => JSON.stringify({ inputs: `the film number ${i}`, raw_scores: true }))
      const expected = await Promise.all(
        tasks.map(async (task, i) => {
          const answer = await fetch(`${server.url}/tasks/${task}/predict`, {
            method: 'POST',
            headers: json,
            body: bodies[i] ?? '',
          })
          return predictionOf(answer)
        }),
      )
      const one = client().send(tasks.map((task, i) => request('POST', `/tasks/${task}/predict`, bodies[i])).join(''))
      const answers = await one.send(request('GET', '/health/live', '', { connection: 'close' })).responses()
      assert.equal(answers.length, tasks.length + 1)
      for (const [i, answer] of expected.entries()) {
        assert.equal(answers[i]?.status, 200)
        const found = JSON.parse(answers[i]?.body ?? '') as ClassificationResponse
        assert.deepEqual([found.task, found.version], [answer.task, answer.version])
        assert.ok(distance(scoresOf(found), scoresOf(answer)) < 1e-4)
      }
      assert.deepEqual(JSON.parse(answers.at(-1)?.body ?? ''), { status: 'live' })
    }))

  const chunk = `4000\r\n${'x'.repeat(0x4000)}\r\n`
  const refused: [string, string | Uint8Array, number, string][] = [
    [
      'sends headers beyond the limit',
      `GET /tasks HTTP/1.1\r\nhost: localhost\r\n${'a: b\r\n'.repeat(5_000)}\r\n`,
      431,
      'headers_too_large',
    ],
    ['asks for an address beyond the limit', request('GET', `/${'a'.repeat(9_000)}`), 431, 'headers_too_large'],
    [
      'sends chunks beyond the limit',
      `${request('POST', predictPath, '', chunked)}${chunk.repeat(20)}0\r\n\r\n`,
      413,
      'body_too_large',
    ],
    [
      'announces a body that is not even thrown away',
      request('PUT', '/tasks/large', '', { ...upload, 'content-length': '1000000000000' }),
      413,
      'body_too_large',
    ],
    [
      'asks whether it may send a body that is too large',
      request('PUT', '/tasks/large', '', { ...upload, 'content-length': '200001', expect: '100-continue' }),
      413,
      'body_too_large',
    ],
    [
      'asks whether it may send what is not taken',
      request('PUT', '/tasks/large', '', { 'content-type': 'text/css', 'content-length': '9', expect: '100-continue' }),
      415,
      'unsupported_media_type',
    ],
    ['sends a chunk without a length', `${request('POST', predictPath, '', chunked)}zz\r\n`, 400, 'invalid_request'],
    ['gives two lengths', request('POST', predictPath, text, chunked), 400, 'invalid_request'],
    ['names no host', 'GET /tasks HTTP/1.1\r\nconnection: close\r\n\r\n', 400, 'invalid_request'],
    ['speaks HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 400, 'invalid_request'],
    ['speaks TLS', Buffer.from('16030100a5010000a10303', 'hex'), 400, 'invalid_request'],
    ['asks for a tunnel', 'CONNECT localhost:1 HTTP/1.1\r\nhost: localhost\r\n\r\n', 400, 'invalid_request'],
    ['asks for no address', request('GET', '/tasks/%zz'), 400, 'invalid_request'],
    ['asks for an address with a long name', request('GET', `/tasks/${'a'.repeat(2_000)}`), 400, 'invalid_request'],
    [
      'sends a thousand headers',
      `GET /tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${'a:\r\n'.repeat(1_000)}\r\n`,
      431,
      'headers_too_large',
    ],
    [
      'expects what is not known',
      request('PUT', '/tasks/x', '', { ...upload, 'content-length': '5', expect: 'a miracle' }),
      417,
      'expectation_failed',
    ],
    [
      'names two hosts',
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
      'pipelines more than may wait',
      request('GET', '/docs/static/swagger-ui-bundle.js').repeat(100),
      400,
      'invalid_request',
    ],
    ['sends anything', Uint8Array.of(0, 1, 2, 3, 255), 400, 'invalid_request'],
  ]
  for (const [what, bytes, status, code] of refused)
    test(`${what} is answered ${status}, and no more`, () =>
      leavingNothing(async () => {
        const [answer, ...more] = await client().send(bytes).responses()
        assert.deepEqual([answer?.status, more.length], [status, 0])
        assert.match(answer?.headers ?? '', /^content-type: application\/problem\+json\r$/m)
        assert.match(answer?.headers ?? '', /^x-content-type-options: nosniff\r$/m)
        const problem = JSON.parse(answer?.body ?? '') as { code: string; request_id: string }
        assert.equal(problem.code, code)
        assert.match(answer?.headers ?? '', new RegExp(`^x-request-id: ${problem.request_id}\r$`, 'm'))
      }))

  test('asks whether it may send its body is told so, and then answered', () =>
    leavingNothing(async () => {
      const [head = '', body = ''] = request('POST', predictPath, text, {
        expect: '100-continue',
        connection: 'close',
      }).split(/(?<=\r\n\r\n)/)
      const one = client().send(head)
      await new Promise((resolve) => one.socket.once('data', resolve))
      const answers = await one.send(body).responses()
      assert.deepEqual(
        answers.map(({ status }) => status),
        [100, 200],
      )
    }))

  test('never reads its answers is cut off', () =>
    leavingNothing(async () => {
      const one = client()
      one.socket.pause()
      // More than the system's buffers of a connection hold.
      one.send(request('GET', '/docs/static/swagger-ui-bundle.js').repeat(15))
      await until(async () => one.socket.bytesWritten > 0)
      const before = await openFiles()
      await until(async () => (await openFiles()) < before)
      assert.equal(one.socket.closed, false)
    }))

  test('leaves in the middle of an upload leaves no task', () =>
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

  test('leaves while its texts are queued has no more of them computed, whether it pipelines or not', () =>
    leavingNothing(async () => {
      const [computedBefore, cancelledBefore] = [await computed(), await cancelled()]
      const body = many(250, 'somebody waits for text')
      const waiting = fetch(`${server.url}${predictPath}`, { method: 'POST', headers: json, body })
      await until(async () => (await queued()) > 150)
      const leaving = [client(), client()] as const
      leaving[0].send(request('POST', '/tasks/trec/predict', many(80, 'nobody waits for text')).repeat(3))
      leaving[1].send(request('POST', '/tasks/cola/predict', many(60, 'nobody waits for text')))
      // Of pipelined requests only the first is begun.
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

  test('leaves at any moment, hundreds of them, does not disturb the others', () =>
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
