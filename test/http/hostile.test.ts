import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { before, describe, test } from 'node:test'
import { changedTask, taskBytes } from '../material.js'
import { keyClient, operatorKey, predict, type Running, startRunning, upload } from './running.js'

interface ProblemBody {
  readonly code: string
  readonly detail: string
}

let running: Running
before(async () => {
  running = await startRunning()
})

const get = (url: string, headers: Record<string, string> = {}) => running.app.inject({ url, headers })

/** Sends bytes. @returns the status and the problem of the response */
async function raw(bytes: string): Promise<ProblemBody & { status: number }> {
  const socket = connect(Number(new URL(running.server.address).port), '127.0.0.1')
  socket.write(Buffer.from(bytes, 'latin1'))
  let response = ''
  for await (const piece of socket) response += piece
  const problem = JSON.parse(response.slice(response.indexOf('\r\n\r\n') + 4)) as ProblemBody
  return { ...problem, status: Number(response.split(' ', 2)[1]) }
}

describe('names with a meaning in JavaScript', () => {
  test('are valid ids of tasks and tenants', async () => {
    assert.equal((await get('/tasks/constructor')).json<ProblemBody>().code, 'unknown_task')
    assert.equal((await upload(running.app, 'constructor')).statusCode, 201)
    assert.equal((await predict(running.app, 'constructor', { inputs: 'a film' })).statusCode, 200)
    assert.equal((await running.app.inject({ method: 'DELETE', url: '/tasks/constructor' })).statusCode, 204)
    const { app } = await startRunning({ operatorKey })
    const operator = keyClient(app, operatorKey)
    assert.equal((await operator('GET', '/tenants/constructor')).json<ProblemBody>().code, 'unknown_tenant')
    assert.equal((await operator('PUT', '/tenants/constructor', {})).statusCode, 201)
    assert.equal(
      (await operator('DELETE', '/tenants/constructor/keys/constructor')).json<ProblemBody>().code,
      'unknown_key',
    )
    const polluted = await app.inject({
      method: 'PUT',
      url: '/tenants/acme',
      headers: { authorization: `Bearer ${operatorKey}`, 'content-type': 'application/json' },
      body: '{"limits":{"__proto__":{"tasks":1}}}',
    })
    assert.equal(polluted.json<ProblemBody>().code, 'invalid_json')
  })

  test('and unusual characters are returned unchanged in labels and metrics', async () => {
    const labels = ['__proto__', 'constructor', '\u0000\u001b[2J\r\n', '\ud800', '"\\', '\u2028💥']
    const base = taskBytes('trec')
    for (const problem_type of ['single_label_classification', 'multi_label_classification', 'token_classification']) {
      const metrics = '{"__proto__":{"a":1},"constructor":"\\ud800"}'
      const metadata = { labels: JSON.stringify(labels), problem_type, metrics, description: '\u0000 </script>' }
      const file = changedTask(base, { metadata })
      const response = await upload(running.app, 'odd', file)
      assert.ok(response.statusCode < 300, response.body)
      const described = (await get('/tasks/odd')).json<{ labels: string[]; metrics: object; description: string }>()
      assert.deepEqual([described.labels, described.description], [labels, metadata.description])
      assert.deepEqual(described.metrics, JSON.parse(metrics))
      const text = '\ud83d dull \u0000 \udc00film'
      const predicted = await predict(running.app, 'odd', {
        inputs: text,
        threshold: problem_type[0] === 'm' ? 1e-9 : undefined,
      })
      assert.equal(predicted.statusCode, 200, predicted.body)
      type Scored = { scores: { label: string }[] }
      const [prediction] = predicted.json<{
        predictions: (Scored & { words?: (Scored & { text: string; start: number; end: number })[] })[]
      }>().predictions
      for (const { scores } of prediction?.words ?? [prediction as Scored])
        assert.deepEqual(
          scores.map(({ label }) => label),
          labels,
        )
      for (const word of prediction?.words ?? []) assert.equal(word.text, text.slice(word.start, word.end))
    }
  })
})

describe('an invalid address, header or number', () => {
  for (const [path, status] of [
    ['/tasks/..', 400],
    ['/tasks/../../etc/passwd', 404],
    ['/tasks/%2e%2e/file', 400],
    ['/tasks/%2e%2e%2f%2e%2e%2fetc', 400],
    ['/tasks/%2F', 400],
    ['/tasks/sst2%00', 400],
    ['/tasks/sst2%0d%0ax-evil:1', 400],
    ['/tasks/%ed%a0%80', 400],
    ['/tasks/%', 400],
    ['//tasks', 404],
    ['/tasks/sst2/', 404],
    ['/tasks/\\..\\sst2', 400],
    ['/docs/static/..%2f..%2fpackage.json', 404],
  ] as const)
    test(`is rejected: the path ${path}`, async () => {
      const response = await raw(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      assert.equal(response.status, status, response.detail)
      assert.ok(response.code && response.detail)
    })

  test('is rejected: headers with control characters or two lengths', async () => {
    for (const header of [
      'x-request-id: a\u0000b',
      'x-request-id: a\u0001b',
      'x y: 1',
      'content-length: 1\r\ncontent-length: 2',
    ])
      assert.equal(
        (await raw(`GET /tasks HTTP/1.1\r\nHost: localhost\r\n${header}\r\n\r\n`)).code,
        'invalid_request',
        header,
      )
  })

  test('is rejected: malformed or repeated numbers', async () => {
    for (const query of [
      'true',
      '1.5',
      '1e2',
      '',
      '+1',
      '%201',
      '0x1',
      '0',
      '1001',
      '-1',
      '1&limit=2',
      '9'.repeat(400),
    ])
      assert.equal((await get(`/tasks?limit=${query}`)).json<ProblemBody>().code, 'invalid_request', query)
    assert.equal((await get('/tasks?limit=002')).json<{ tasks: object[] }>().tasks.length, 2)
    assert.equal((await get('/tasks?__proto__=1')).json<ProblemBody>().code, 'invalid_request')
  })

  test('gets the supported methods if the method is wrong', async () => {
    for (const [method, url, allow] of [
      ['PATCH', '/tasks/sst2', 'DELETE, GET, HEAD, PUT'],
      ['TRACE', '/predict', 'POST'],
      ['OPTIONS', '/health/live', 'GET, HEAD'],
      ['POST', '/tenants/acme', 'DELETE, GET, HEAD, PATCH, PUT'],
    ] as const) {
      const response = await running.app.inject({ method: method as 'GET', url })
      assert.deepEqual([response.statusCode, response.headers.allow], [405, allow])
      assert.equal(response.json<ProblemBody>().code, 'method_not_allowed')
    }
  })
})

test('an error is short, even if the rejected text is long', async () => {
  const long = 'a'.repeat(9_000)
  const json = (body: object | string) => predict(running.app, 'sst2', body)
  const responses = [
    await get('/tasks/sst2', { 'x-request-id': long, 'sec-fetch-site': 'cross-site', origin: long }),
    await upload(running.app, 'x', taskBytes('sst2'), { 'if-match': long }),
    await upload(running.app, 'x', taskBytes('sst2'), { 'content-type': long }),
    await get(`/${long}`),
    await get(`/tasks?${long}=1`),
    await json({ [long]: 1, inputs: 'a' }),
    await json({ inputs: { text: 'a', [long]: 1 } }),
    await json({ inputs: new Array(9_000).fill(0) }),
    await json({ inputs: 'a', ...Object.fromEntries(Array.from({ length: 9_000 }, (_, n) => [n, n])) }),
    await json(`{"inputs": ${long}}`),
    await upload(running.app, 'x', changedTask(taskBytes('sst2'), { metadata: { labels: JSON.stringify([long]) } })),
    await upload(running.app, 'x', changedTask(taskBytes('sst2'), { metadata: { threshold: long } })),
    await upload(
      running.app,
      'x',
      changedTask(taskBytes('sst2'), { tensors: { [long]: { dtype: 'U8', shape: [0], data: new Uint8Array() } } }),
    ),
    await upload(
      running.app,
      'x',
      changedTask(taskBytes('sst2'), {
        tensors: { mask: { dtype: 'U8', shape: new Array(9_000).fill(0), data: new Uint8Array() } },
      }),
    ),
  ]
  for (const [index, response] of responses.entries()) {
    const { code, detail } = response.json<ProblemBody>()
    assert.ok(response.statusCode >= 400 && response.statusCode < 500 && code, String(index))
    assert.ok(detail.length < 1_000, `${index}: ${code} of ${detail.length} characters: ${detail.slice(0, 200)}`)
  }
})
