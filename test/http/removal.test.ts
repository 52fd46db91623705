import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../../src/formats/digest.js'
import { shiftedTask, taskBytes, temporaryDirectory } from '../material.js'
import { anyVersion, newTenant as makeTenant, openStore } from '../tenants/material.js'
import { type KeyClient, keyClient, newTenant, operatorKey, type Running, startRunning } from './running.js'

const sst2 = taskBytes('sst2')
const [olds, news] = [Buffer.from(shiftedTask(sst2, 1)), Buffer.from(shiftedTask(sst2, 2))]
const codeOf = async (response: ReturnType<KeyClient>) => (await response).json<{ code?: string }>().code

/** Sends a request without its body, which the server then waits for. @returns sends the body */
async function held(url: string, method: string, key: string, type: string, body: Buffer) {
  const sent = request(url, {
    method,
    agent: false,
    headers: {
      authorization: `Bearer ${key}`,
      'content-type': type,
      'content-length': body.byteLength,
      expect: '100-continue',
    },
  })
  sent.flushHeaders()
  await once(sent, 'continue')
  return async () => {
    sent.end(body)
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    const text = (await response.toArray()).join('')
    return { status: response.statusCode, response: JSON.parse(text) as Record<string, unknown> }
  }
}

describe('a tenant that is deleted over HTTP', () => {
  let running: Running
  let operator: KeyClient
  before(async () => {
    running = await startRunning({ operatorKey })
    operator = keyClient(running.app, operatorKey)
  })
  const newKey = async (id: string) => (await operator('POST', `/tenants/${id}/keys`, {})).json<{ key: string }>().key
  const steps = (id: string) =>
    running.log.filter(
      ({ audit, tenant, action }) => audit && tenant === id && /^tenant\.(close|delete)/.test(`${action}`),
    )

  test('is deleted once by many simultaneous requests, and all of them succeed or find nothing', async () => {
    const acme = await newTenant(running.app, 'many')
    for (const id of ['one', 'two']) assert.equal((await acme('PUT', `/tasks/${id}`, olds)).statusCode, 201)
    const responses = await Promise.all(Array.from({ length: 20 }, () => operator('DELETE', '/tenants/many')))
    for (const { statusCode, body } of responses) assert.ok([204, 404].includes(statusCode), body)
    assert.equal(responses[0]?.statusCode, 204)
    assert.equal(await codeOf(operator('DELETE', '/tenants/many')), 'unknown_tenant')
    assert.deepEqual(
      steps('many').map(({ actor, action }) => [actor, action]),
      [
        ['operator/environment', 'tenant.close'],
        ['operator/environment', 'tenant.delete'],
      ],
    )
    assert.deepEqual(steps('many')[1]?.before, { tasks: 2, bytes: 2 * olds.byteLength, examples: 0 })
  })

  test('cannot be created again while it is being deleted, and has no API keys', async () => {
    const acme = await newTenant(running.app, 'leaver')
    await running.server.services.tenants.close('leaver')
    assert.equal((await acme('GET', '/tasks')).statusCode, 401)
    assert.equal(await codeOf(operator('PUT', '/tenants/leaver', {})), 'tenant_leaving')
    for (const [method, path] of [
      ['GET', ''],
      ['GET', '/keys'],
      ['POST', '/keys'],
      ['DELETE', '/keys/000000000000'],
    ] as const)
      assert.equal(
        await codeOf(operator(method, `/tenants/leaver${path}`, method === 'POST' ? {} : undefined)),
        'unknown_tenant',
      )
    assert.equal((await operator('DELETE', '/tenants/leaver')).statusCode, 204)
    assert.equal((await operator('PUT', '/tenants/leaver', {})).statusCode, 201)
  })

  test('is not accessible through an old key record', async () => {
    await newTenant(running.app, 'back')
    const key = await newKey('back')
    const { store } = running.server.services
    const record = `back/${key.split('_')[2]}`
    const bytes = store.get('keys', record) ?? assert.fail()
    assert.equal((await operator('DELETE', '/tenants/back')).statusCode, 204)
    const next = await newTenant(running.app, 'back')
    await store.change((records) => records.put('keys', record, bytes))
    assert.equal(await codeOf(keyClient(running.app, key)('GET', '/tasks')), 'unauthenticated')
    assert.equal((await next('GET', '/tasks')).statusCode, 200)
    assert.equal((await operator('GET', '/tenants/back/keys')).json<{ keys: object[] }>().keys.length, 1)
  })

  test('cannot reach the next tenant of its id through requests whose bodies arrive late', async () => {
    await newTenant(running.app, 'late')
    const key = await newKey('late')
    const { address } = running.server
    const octets = 'application/octet-stream'
    const form = `--x\r\ncontent-disposition: form-data; name="file"; filename="mine.safetensors"\r\n\r\n`
    const requests = [
      await held(`${address}/tasks/mine`, 'PUT', key, octets, olds),
      await held(`${address}/tasks/other`, 'PUT', key, octets, olds),
      await held(`${address}/tasks/mine/predict`, 'POST', key, 'application/json', Buffer.from('{"inputs":"a film"}')),
      await held(
        `${address}/predict`,
        'POST',
        key,
        'application/json',
        Buffer.from('{"inputs":[{"task":"mine","text":"a film"}]}'),
      ),
      await held(
        `${address}/tasks`,
        'POST',
        key,
        'multipart/form-data; boundary=x',
        Buffer.concat([Buffer.from(form), olds, Buffer.from('\r\n--x--\r\n')]),
      ),
    ]
    assert.equal((await operator('DELETE', '/tenants/late')).statusCode, 204)
    const next = await newTenant(running.app, 'late')
    assert.equal((await next('PUT', '/tasks/mine', news)).statusCode, 201)
    const responses = []
    for (const finish of requests) responses.push(await finish())
    assert.deepEqual(
      responses.map(({ status, response }) => [status, response.code]),
      Array.from({ length: 5 }, () => [401, 'unauthenticated']),
    )
    assert.equal((await next('GET', '/tasks/mine')).json<{ version: string }>().version, digestOf(news))
    assert.equal((await next('GET', '/tasks/other')).statusCode, 404)
    const { usage } = (await next('GET', '/tenants/late')).json<{ usage: object }>()
    assert.deepEqual(usage, { tasks: 1, bytes: news.byteLength, examples: 0 })
  })
})

describe('interrupted deletions that a server finds when it starts', () => {
  test('are finished, and do not affect a new tenant of the same id', async () => {
    const dataDir = await temporaryDirectory()
    const { store, tasks, tenants } = await openStore(dataDir)
    const first = await makeTenant(tenants, 'aaa')
    const second = await makeTenant(tenants, 'bbb')
    await Promise.all(
      Array.from({ length: 20_000 }, (_, i) => tasks.put(first, `t${i}`, 'd', olds.subarray(0, 200), anyVersion)),
    )
    await tasks.put(second, 'mine', digestOf(olds), olds, anyVersion)
    for (const id of ['aaa', 'bbb']) await tenants.close(id)
    await store.close()

    const { app, log, server } = await startRunning({ operatorKey, dataDir })
    const operator = keyClient(app, operatorKey)
    assert.ok([204, 404].includes((await operator('DELETE', '/tenants/bbb')).statusCode))
    const next = await newTenant(app, 'bbb')
    assert.equal((await next('PUT', '/tasks/mine', news)).statusCode, 201)
    for (let tries = 0; server.services.store.get('tenants', 'aaa') !== undefined; tries++) {
      assert.ok(tries < 3_000, 'the interrupted deletion is never finished')
      await delay(10)
    }
    // Changes run in order: after these the round of deletions is over.
    for (let i = 0; i < 3; i++) await server.services.store.change(() => {})
    assert.equal((await next('GET', '/tasks/mine')).json<{ version: string }>().version, digestOf(news))
    assert.deepEqual((await next('GET', '/tenants/bbb')).json<{ usage: object }>().usage, {
      tasks: 1,
      bytes: news.byteLength,
      examples: 0,
    })
    const done = log.filter(({ action }) => action === 'tenant.delete')
    assert.deepEqual(done.map(({ tenant, before, incarnation }) => [tenant, before, incarnation]).toSorted(), [
      ['aaa', { tasks: 20_000, bytes: 20_000 * 200, examples: 0 }, first.incarnation],
      ['bbb', { tasks: 1, bytes: olds.byteLength, examples: 0 }, second.incarnation],
    ])
    assert.equal(done.find(({ tenant }) => tenant === 'aaa')?.actor, 'server')
  })
})
