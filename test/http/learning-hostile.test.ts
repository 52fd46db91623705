// What a stranger may try with the routes of examples, feedback, suggestions, versions and jobs.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request as sendRequest } from 'node:http'
import { before, describe, test } from 'node:test'
import { shiftedTask, taskBytes } from '../material.js'
import { type KeyClient, keyClient, newTenant, operatorKey, type Running, startRunning } from './running.js'

type Method = 'GET' | 'PUT' | 'POST' | 'DELETE' | 'PATCH'
type Response = Awaited<ReturnType<KeyClient>>

const sst2 = Buffer.from(taskBytes('sst2'))
const examples = [
  { text: 'a gorgeous film', label: 'positive' },
  { text: 'two hours of nothing', label: 'negative' },
]
const jobOfOthers = '0'.repeat(26)
const exampleId = '0'.repeat(20)

/** Every route of learning, with a body that is valid. `:id` is a task. */
const routes: readonly (readonly [method: Method, path: string, body?: object])[] = [
  ['GET', '/tasks/:id/settings'],
  ['PUT', '/tasks/:id/settings', { keep_texts: { days: 7 } }],
  ['GET', '/tasks/:id/suggestions'],
  ['GET', '/tasks/:id/examples'],
  ['GET', `/tasks/:id/examples/${exampleId}`],
  ['PATCH', `/tasks/:id/examples/${exampleId}`, { label: 'x' }],
  ['DELETE', `/tasks/:id/examples/${exampleId}`],
  ['DELETE', '/tasks/:id/examples'],
  ['POST', '/tasks/:id/feedback', { text: 'a film', label: 'positive' }],
  ['POST', '/tasks/:id/learn', {}],
  ['GET', '/tasks/:id/versions'],
  ['GET', '/tasks/:id/versions/1/report'],
  ['DELETE', '/tasks/:id/versions/1'],
  ['PUT', '/tasks/:id/active', { version: 1 }],
]
const withBody = routes.filter(([, , body]) => body !== undefined)

describe('a stranger', () => {
  let running: Running
  let send: (key: string) => (method: Method, url: string, body?: object | string) => Promise<Response>
  let acme: ReturnType<typeof send>
  let beta: ReturnType<typeof send>
  let operator: KeyClient
  const keys = new Map<string, string>()

  before(async () => {
    running = await startRunning({ operatorKey, learningJobs: '0' })
    operator = keyClient(running.app, operatorKey)
    send = (key) => (method, url, body) =>
      running.app.inject({
        method,
        url,
        headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { 'content-type': 'application/json' }) },
        ...(body !== undefined && { body }),
      })
    for (const id of ['acme', 'beta']) {
      await newTenant(running.app, id)
      const made = await operator('POST', `/tenants/${id}/keys`, {})
      keys.set(id, made.json<{ key: string }>().key)
    }
    acme = send(keys.get('acme') ?? '')
    beta = send(keys.get('beta') ?? '')
    for (const shift of [0, 1]) {
      const file = Buffer.from(shiftedTask(sst2, shift))
      assert.ok((await keyClient(running.app, keys.get('acme') ?? '')('PUT', '/tasks/mine', file)).statusCode < 300)
    }
    assert.equal((await acme('POST', '/tasks/mine/examples', examples)).statusCode, 200)
    assert.equal((await acme('PUT', '/tasks/mine/settings', { keep_texts: { days: 7 } })).statusCode, 200)
  })
  const codeOf = (response: Response) => response.json<{ code: string }>().code
  const usage = async (tenant: string) =>
    (await operator('GET', `/tenants/${tenant}`)).json<{ usage: { tasks: number; bytes: number; examples: number } }>()
      .usage
  /** No request may fail for a reason that the server did not foresee. */
  const checkForeseen = (response: Response, what: string) => {
    assert.ok(response.statusCode < 500, `${what}: ${response.statusCode} ${response.body}`)
    assert.doesNotMatch(response.body, /node:|at .*\.js:\d|\/tmp\//, what)
  }

  test('cannot tell the tasks of others from tasks that do not exist', async () => {
    const before = await usage('acme')
    for (const [method, path, body] of routes) {
      const [others, none] = await Promise.all(
        ['mine', 'none'].map((id) => beta(method, path.replace(':id', id), body)),
      )
      assert.ok(others && none)
      // Nothing trains tasks here, whoever they belong to.
      const expected = path.endsWith('/learn') ? 409 : 404
      assert.equal(others.statusCode, expected, `${method} ${path}: ${others.body}`)
      const hide = (response: Response) =>
        JSON.stringify({ ...response.json<object>(), request_id: '' }).replaceAll(/mine|none/g, '')
      assert.equal(hide(others), hide(none), `${method} ${path}`)
    }
    assert.deepEqual(await usage('acme'), before)
    assert.deepEqual(await usage('beta'), { tasks: 0, bytes: 0, examples: 0 })
  })

  test('gets nothing for ids with odd characters', async () => {
    const ids = [
      ...['..', '%2e%2e', '..%2Fmine', '%2F', 'mine%2F', '~acme%2Fmine', 'mine%00', '%00', '%0A', '~', 'MINE', '-'],
      ...['a'.repeat(65), 'a'.repeat(5_000), '%F0%9F%98%80', '%25', 'mine%252F', '__proto__', 'mine;x', 'mine%3Fx'],
    ]
    for (const id of ids)
      for (const [method, path, body] of routes) {
        const response = await acme(method, path.replace(':id', id), body)
        const what = `${method} ${path} ${id.slice(0, 20)}`
        checkForeseen(response, what)
        assert.ok(
          [400, 404, 405, 409, 414].includes(response.statusCode),
          `${what}: ${response.statusCode} ${response.body}`,
        )
      }
    for (const id of ['%ED%A0%80', '%FF', '%', '%zz'])
      for (const [method, path, body] of routes)
        checkForeseen(await acme(method, path.replace(':id', id), body), `${method} ${path} ${id}`)
  })

  test('gets nothing for odd ids of versions, examples and jobs', async () => {
    const odd = [
      ...['0', '-1', '1.0', '1e0', '9'.repeat(20), 'NaN', 'Infinity', 'null', '0x1', '%201'],
      ...['~wrong', '~wrong%2Fmine', 'mine', '%2e%2e%2Fbeta', '%00', 'a'.repeat(900), '__proto__', jobOfOthers],
    ]
    for (const each of odd)
      for (const [method, path, body] of [
        ['GET', `/tasks/mine/versions/${each}/report`],
        ['DELETE', `/tasks/mine/versions/${each}`],
        ['GET', `/tasks/mine?version=${each}`],
        ['GET', `/tasks/mine/file?version=${each}`],
        ['POST', `/tasks/mine/predict?version=${each}`, { inputs: 'a film' }],
        ['GET', `/tasks/mine/examples/${each}`],
        ['PATCH', `/tasks/mine/examples/${each}`, { label: 'x' }],
        ['DELETE', `/tasks/mine/examples/${each}`],
        ['GET', `/jobs/${each}`],
        ['GET', `/jobs/${each}/events`],
        ['DELETE', `/jobs/${each}`],
      ] as const) {
        const response = await acme(method, path, body)
        checkForeseen(response, `${method} ${path}`)
        assert.ok(
          response.statusCode >= 400,
          `${method} ${path}: ${response.statusCode} ${response.body.slice(0, 200)}`,
        )
      }
    assert.equal((await acme('GET', '/tasks/mine/versions')).json<{ versions: unknown[] }>().versions.length, 2)
  })

  test('is told what is wrong with bodies of wrong types, deep ones and huge ones', async () => {
    const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`
    const bodies: readonly (object | string)[] = [
      ...[
        'null',
        'true',
        '1',
        '"x"',
        '[]',
        '',
        '{',
        '{"a":1e999}',
        deep(9),
        deep(100_000),
        '{"__proto__":{"version":1}}',
      ],
      ...[{ unknown: 1 }, { constructor: { prototype: {} } }, [[]], [{}]],
      ...[{ version: '1' }, { version: 1.5 }, { version: -1 }, { version: 2 ** 53 }, { version: { $gt: 0 } }],
      ...[
        { version: 1, share: 0 },
        { version: 1, share: 1 },
        { version: 1, share: 'NaN' },
        { version: 1, shadow: 1 },
      ],
      ...[{ text: 1, label: 'x' }, { text: 'x' }, { text: ['x'], label: 'x' }, { text: 'x', label: {} }],
      ...[
        { text: 'x', label: [[]] },
        { text: 'x', label: null },
        { tokens: [], tags: [] },
        { tokens: ['a'], tags: [] },
      ],
      ...[
        { text: ' ', label: 'x' },
        { text: 'x', label: '' },
        { request_id: 'r', index: 1e9, label: 'x' },
      ],
      ...[{ activate: 'maybe' }, { time_budget_s: 1e12 }, { seed: -1 }, { max_examples: 0 }, { problem_type: 'x' }],
      ...[{ keep_texts: { days: 1e9 } }, { keep_texts: [] }],
      { text: 'x'.repeat(900_000), label: 'x'.repeat(100_000) },
      { label: Array.from({ length: 2_000 }, () => 'x') },
    ]
    for (const [method, path] of withBody)
      for (const body of bodies) {
        const response = await acme(method, path.replace(':id', 'mine'), body)
        const what = `${method} ${path} ${JSON.stringify(body).slice(0, 80)}`
        checkForeseen(response, what)
        // Nothing runs jobs here: a valid request to learn is rejected, too.
        assert.ok(response.statusCode >= 400, `${what}: ${response.statusCode} ${response.body.slice(0, 200)}`)
      }
    for (const body of [...bodies, [{ text: 'x', label: 'y' }, 7], [{ tokens: ['a', 'b'], tags: ['O'] }]])
      checkForeseen(await acme('POST', '/tasks/mine/examples?dry_run=true', body), JSON.stringify(body).slice(0, 80))
    for (const query of ['limit=0', 'limit=1001', 'limit=-1', 'limit=1e2', 'after=~', 'after=%00', 'nothing=1'])
      for (const path of ['/tasks/mine/versions', '/tasks/mine/examples', '/tasks/mine/suggestions', '/jobs']) {
        const response = await acme('GET', `${path}?${query}`)
        checkForeseen(response, `${path}?${query}`)
        assert.equal(response.statusCode, 400, `${path}?${query}: ${response.body.slice(0, 200)}`)
      }
    const { total } = (await acme('GET', '/tasks/mine/examples')).json<{ total: number }>()
    assert.equal(total, examples.length)
  })

  test('leaves nothing behind who deletes a task while its examples, texts and settings change', async () => {
    for (let round = 0; round < 5; round++) {
      const some = Array.from({ length: 600 }, (_, i) => ({
        text: `text ${round} ${i}`,
        label: i % 2 === 0 ? 'a' : 'b',
      }))
      const betaFile = keyClient(running.app, keys.get('beta') ?? '')
      assert.ok((await betaFile('PUT', '/tasks/race', sst2)).statusCode < 300)
      await beta('PUT', '/tasks/race/settings', { keep_texts: { days: 7 } })
      const posting = beta('POST', '/tasks/race/examples', some)
      const others = [
        beta('POST', '/tasks/race/feedback', { text: 'more', label: 'a' }),
        beta('POST', '/tasks/race/predict', { inputs: ['one', 'two'] }),
        beta('PUT', '/tasks/race/settings', { keep_texts: { days: 8 } }),
        beta('DELETE', '/tasks/race'),
        beta('PUT', '/tasks/race/settings', { keep_texts: { days: 9 } }),
        beta('POST', '/tasks/race/feedback', { text: 'again', label: 'a' }),
        beta('DELETE', '/tasks/race/examples'),
        beta('GET', '/tasks/race/suggestions'),
      ]
      for (const response of await Promise.all([posting, ...others])) checkForeseen(response, `round ${round}`)
      await running.server.services.suggestions.flush()
      for (const path of ['/tasks/race', '/tasks/race/examples']) checkForeseen(await beta('DELETE', path), path)
      assert.equal(codeOf(await beta('GET', '/tasks/race/settings')), 'unknown_task')
      assert.deepEqual(await usage('beta'), { tasks: 0, bytes: 0, examples: 0 }, `round ${round}`)
    }
    await running.server.services.suggestions.sweep()
    const { store } = running.server.services
    for (const table of ['recent', 'datasets', 'versions', 'files', 'history', 'kept', 'reports'] as const)
      assert.deepEqual(
        Array.from(store.range(table), ([key]) => key).filter((key) => key.startsWith('~beta')),
        [],
        table,
      )
  })

  test('wrote no text of another into the log', () => {
    assert.deepEqual(
      running.log.filter(({ level }) => Number(level) >= 50),
      [],
    )
    assert.doesNotMatch(JSON.stringify(running.log), /two hours of nothing|text \d \d/)
  })
})

describe('streams of events', () => {
  test('are bounded for each owner, and do not keep others from following their jobs', async () => {
    const running = await startRunning({ operatorKey })
    const operator = keyClient(running.app, operatorKey)
    const jobs = new Map<string, { key: string; job: string }>()
    for (const id of ['acme', 'beta']) {
      await newTenant(running.app, id)
      const { key } = (await operator('POST', `/tenants/${id}/keys`, {})).json<{ key: string }>()
      const client = keyClient(running.app, key)
      const some = Array.from({ length: 20 }, (_, i) => ({ text: `text ${i}`, label: i % 2 === 0 ? 'a' : 'b' }))
      assert.equal((await client('POST', '/tasks/mine/examples', some)).statusCode, 200)
      const made = await client('POST', '/tasks/mine/learn', {})
      assert.equal(made.statusCode, 202, made.body)
      jobs.set(id, { key, job: made.json<{ id: string }>().id })
    }
    const open: IncomingMessage[] = []
    const follow = async (id: string) => {
      const { key = '', job = '' } = jobs.get(id) ?? {}
      const sent = sendRequest(`${running.server.address}/jobs/${job}/events`, {
        agent: false,
        headers: { authorization: `Bearer ${key}` },
      })
      sent.end()
      const [response] = (await once(sent, 'response')) as [IncomingMessage]
      open.push(response)
      return response.statusCode
    }
    const statuses = await Promise.all(Array.from({ length: 40 }, () => follow('acme')))
    assert.equal(statuses.filter((status) => status === 429).length >= 8, true, statuses.join())
    assert.equal(await follow('beta'), 200)
    for (const response of open) response.destroy()
    for (const { key, job } of jobs.values()) {
      const cancelled = await keyClient(running.app, key)('DELETE', `/jobs/${job}`)
      assert.ok([204, 409].includes(cancelled.statusCode), cancelled.body)
    }
  })
})
