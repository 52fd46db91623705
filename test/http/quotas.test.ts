import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { shiftedTask, taskBytes } from '../material.js'
import { type KeyClient, keyClient, newTenant, operatorKey, type Running, startRunning } from './running.js'

const sst2 = taskBytes('sst2')
const film = { inputs: 'a gorgeous film' }

describe('quotas over HTTP', () => {
  let running: Running
  let operator: KeyClient
  before(async () => {
    running = await startRunning({ operatorKey, metricsTenants: '2' })
    operator = keyClient(running.app, operatorKey)
  })

  test('of tasks and bytes reject uploads over them, with the usage and the limit', async () => {
    const acme = await newTenant(running.app, 'acme', { limits: { tasks: 2, bytes: 2 * sst2.byteLength } })
    const put = (id: string, file: Uint8Array = sst2) => acme('PUT', `/tasks/${id}`, Buffer.from(file))
    assert.deepEqual([(await put('one')).statusCode, (await put('two')).statusCode], [201, 201])
    const third = await put('three')
    assert.equal(third.statusCode, 403)
    const { code, quota, used, limit } = third.json<Record<string, unknown>>()
    assert.deepEqual([code, quota, used, limit], ['quota_exceeded', 'tasks', 2, 2])
    assert.equal((await put('two', shiftedTask(sst2, 1))).statusCode, 200)
    assert.equal((await acme('GET', '/tasks/three')).statusCode, 404)

    const limits = { tasks: null, bytes: 3 * sst2.byteLength - 1 }
    assert.equal((await operator('PUT', '/tenants/acme', { limits })).statusCode, 200)
    assert.equal((await put('three')).json<{ quota: string }>().quota, 'bytes')
    assert.equal((await acme('DELETE', '/tasks/one')).statusCode, 204)
    assert.equal((await put('three')).statusCode, 201)
    const described = (await acme('GET', '/tenants/acme')).json<Record<string, unknown>>()
    assert.deepEqual(described.limits, {
      ...limits,
      examples: null,
      requests_per_second: null,
      tokens_per_second: null,
    })
    assert.deepEqual(described.usage, { tasks: 2, bytes: 2 * sst2.byteLength, examples: 0 })
  })

  test('of requests per second say when to try again, and do not affect other tenants', async () => {
    const fast = await newTenant(running.app, 'fast', { limits: { requests_per_second: 1 } })
    const other = await newTenant(running.app, 'other-one', { limits: { requests_per_second: 1 } })
    const responses = await Promise.all(Array.from({ length: 20 }, () => fast('GET', '/tasks')))
    assert.equal(responses[0]?.statusCode, 200)
    assert.equal(responses[0]?.headers['ratelimit-policy'], '"requests";q=1;qu="requests";w=1')
    const rejected = responses.find(({ statusCode }) => statusCode === 429) ?? assert.fail('no request was rejected')
    assert.equal(rejected.json<{ code: string }>().code, 'rate_limited')
    assert.equal(rejected.headers['retry-after'], '1')
    assert.equal(rejected.headers.ratelimit, '"requests";r=0;t=1')
    assert.equal((await other('GET', '/tasks')).statusCode, 200)
    assert.equal((await operator('GET', '/tasks')).headers.ratelimit, undefined)
    // A removed limit no longer applies to the next request.
    assert.equal((await operator('PUT', '/tenants/fast', {})).statusCode, 200)
    for (let i = 0; i < 5; i++) assert.equal((await fast('GET', '/tasks')).statusCode, 200)
  })

  test('of tokens per second count tokens of the model, and a debt delays the next request', async () => {
    const wordy = await newTenant(running.app, 'wordy', { limits: { tokens_per_second: 1 } })
    const predict = (inputs: unknown) => wordy('POST', '/tasks/sst2/predict', { inputs })
    // 8 texts of 60 words, [CLS] and [SEP]: much more than the tokens of one second, and admitted.
    const large = await predict(new Array(8).fill('film '.repeat(60)))
    assert.equal(large.statusCode, 200)
    assert.equal(large.headers['ratelimit-policy'], '"tokens";q=1;qu="tokens";w=1')
    const rejected = await predict('a gorgeous film')
    const { code, quota, retry_after_s } = rejected.json<Record<string, unknown>>()
    assert.deepEqual([rejected.statusCode, code, quota], [429, 'rate_limited', 'tokens_per_second'])
    // One token per second, minus the seconds that have passed.
    assert.ok(Number(retry_after_s) <= 8 * 62 && Number(retry_after_s) > 8 * 62 - 120, String(retry_after_s))
    assert.equal(rejected.headers['retry-after'], String(retry_after_s))
    // Requests without tokens still work.
    assert.equal((await wordy('GET', '/tasks')).statusCode, 200)
    const many = await wordy('POST', '/predict', { inputs: [{ task: 'sst2', text: 'a film' }] })
    assert.equal(many.statusCode, 429)
  })

  test('are counted by tenant, with a bounded number of label values', async () => {
    for (const id of ['early', 'late', 'later'])
      await (await newTenant(running.app, id))('POST', '/tasks/sst2/predict', film)
    const text = (await operator('GET', '/metrics')).body
    const names = new Set([...text.matchAll(/^propetl_tenant_\w+\{.*tenant="([^"]+)"/gm)].map(([, name]) => name))
    assert.deepEqual([...names].toSorted(), ['acme', 'fast', 'other'])
    assert.match(text, /^propetl_tenant_requests_total\{tenant="fast",status="429"\} \d+$/m)
    // Those of the previous test, and three times [CLS] a gorgeous film [SEP].
    assert.match(text, new RegExp(`^propetl_tenant_tokens_total\\{tenant="other"\\} ${8 * 62 + 3 * 5}$`, 'm'))
  })

  const invalid: [string, object, RegExp][] = [
    ['a negative limit', { limits: { tasks: -1 } }, /body\/limits\/tasks must be >= 0/],
    ['a rate of 0', { limits: { requests_per_second: 0 } }, /body\/limits\/requests_per_second must be >= 1/],
    [
      'a limit with a fraction',
      { limits: { bytes: 1.5 } },
      /body\/limits\/bytes must be an integer or null, but is 1.5/,
    ],
    ['an unknown limit', { limits: { task: 1 } }, /body\/limits\/task is not a known field/],
    ['an unknown field', { limit: {} }, /body\/limit is not a known field/],
    ['a share of 0', { share: 0 }, /body\/share must be >= 1/],
  ]
  for (const [what, body, detail] of invalid)
    test(`reject ${what}`, async () => {
      const response = await operator('PUT', '/tenants/invalid', body)
      assert.equal(response.json<{ code: string }>().code, 'invalid_request')
      assert.match(response.json<{ detail: string }>().detail, detail)
      assert.equal((await operator('GET', '/tenants/invalid')).statusCode, 404)
    })

  test('reject invalid tenant ids', async () => {
    for (const id of [
      'operator',
      'metrics',
      'other',
      'A',
      '-a',
      'a_b',
      '~acme',
      '__proto__',
      'a%2Fb',
      'a'.repeat(64),
      '%00',
    ])
      assert.equal((await operator('PUT', `/tenants/${id}`, {})).json<{ code: string }>().code, 'invalid_tenant_id', id)
    // The longest possible path, which is longer than a key of the store.
    const long = encodeURIComponent('€'.repeat(900))
    for (const url of [`/tenants/${long}`, `/tenants/${long}/keys`, '/tenants/a%00b', '/tenants/%ED%A0%80'])
      assert.match(
        (await operator('GET', url)).json<{ code: string }>().code,
        /^(unknown_tenant|invalid_request)$/,
        url,
      )
    assert.equal((await operator('DELETE', `/tenants/${long}`)).statusCode, 404)
    assert.equal((await operator('DELETE', `/tenants/operator/keys/${long}`)).statusCode, 404)
    assert.equal((await operator('GET', `/tenants?after=${long}`)).statusCode, 400)
    assert.equal((await operator('GET', '/tenants/constructor')).json<{ code: string }>().code, 'unknown_tenant')
  })

  test('list tenants in pages', async () => {
    const page = (await operator('GET', '/tenants?limit=2&after=early')).json<{
      tenants: { id: string }[]
      next: string
    }>()
    assert.deepEqual(
      page.tenants.map(({ id }) => id),
      ['fast', 'late'],
    )
    assert.equal(page.next, 'late')
  })
})
