import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { temporaryDirectory } from '../material.js'
import { type KeyClient, keyClient, newTenant, operatorKey, type Running, startRunning, upload } from './running.js'

interface CreatedKey {
  readonly id: string
  readonly key: string
}

describe('API keys', () => {
  let running: Running
  let operator: KeyClient
  let dataDir: string
  before(async () => {
    dataDir = await temporaryDirectory()
    running = await startRunning({ operatorKey, dataDir })
    operator = keyClient(running.app, operatorKey)
    await newTenant(running.app, 'acme')
    await newTenant(running.app, 'beta')
  })
  const create = async (owner: string, terms: object = {}) =>
    (await operator('POST', `/tenants/${owner}/keys`, terms)).json<CreatedKey>()
  const status = async (key: string, url = '/tasks') => (await keyClient(running.app, key)('GET', url)).statusCode
  const codeOf = async (response: ReturnType<KeyClient>) => (await response).json<{ code: string }>().code

  test('are shown once, work alongside others, and stop working when they are revoked', async () => {
    const made = await operator('POST', '/tenants/acme/keys', { description: 'web shop' })
    const { id, key } = made.json<CreatedKey>()
    assert.equal(made.headers['cache-control'], 'no-store')
    assert.match(key, /^propetl_acme_[0-9a-f]{12}_[0-9a-f]{64}$/)
    const next = await create('acme')
    assert.deepEqual([await status(key), await status(next.key)], [200, 200])

    const listed = (await operator('GET', '/tenants/acme/keys')).body
    const secret = key.slice(-64)
    assert.ok(listed.includes(id) && listed.includes('web shop') && !listed.includes(secret))
    assert.ok(!readFileSync(join(dataDir, 'tasks.lmdb')).includes(secret), 'the store contains the secret')
    assert.ok(!JSON.stringify(running.log).includes(secret), 'the log contains the secret')

    assert.equal((await operator('DELETE', `/tenants/acme/keys/${id}`)).statusCode, 204)
    assert.deepEqual([await status(key), await status(next.key)], [401, 200])
    assert.equal(await codeOf(operator('DELETE', `/tenants/acme/keys/${id}`)), 'unknown_key')
  })

  test('expire', async () => {
    const { key } = await create('acme', { expires: new Date(Date.now() + 600).toISOString() })
    assert.equal(await status(key), 200)
    while ((await status(key)) === 200) await new Promise((resolve) => setTimeout(resolve, 50))
    assert.equal(await status(key), 401)
    for (const expires of ['2020-01-01T00:00:00Z', 'tomorrow', '2999', '2999-13-01T00:00:00Z'])
      assert.equal(await codeOf(operator('POST', '/tenants/acme/keys', { expires })), 'invalid_request')
  })

  test('get the same error, whatever is wrong with them', async () => {
    const { key, id } = await create('acme')
    const wrong = [
      `${key.slice(0, -1)}${key.endsWith('0') ? '1' : '0'}`,
      key.replace('acme', 'beta'),
      key.replace('acme', 'nobody'),
      key.replace('acme', 'operator'),
      key.replace(id, '000000000000'),
      key.toUpperCase(),
      `${key}0`,
      key.slice(0, -1),
      'propetl_acme_'.padEnd(60_00, 'f'),
      'x',
      `${operatorKey}x`,
    ]
    const details = new Set<string>()
    for (const text of wrong) {
      const response = await keyClient(running.app, text)('GET', '/tasks')
      assert.equal(response.statusCode, 401, text)
      details.add(response.json<{ detail: string }>().detail)
    }
    assert.equal(details.size, 1)
    for (const authorization of ['', 'Bearer', 'Bearer ', `Basic ${key}`, key, `Bearer ${key} ${key}`]) {
      const { statusCode } = await running.app.inject({ url: '/tasks', headers: { authorization } })
      assert.equal(statusCode, 401, authorization)
    }
    const lower = await running.app.inject({ url: '/tasks', headers: { authorization: `bearer ${key}` } })
    assert.equal(lower.statusCode, 200)
  })

  test('of a tenant cannot manage tenants, and read only their own tenant', async () => {
    const acme = keyClient(running.app, (await create('acme')).key)
    assert.equal((await acme('GET', '/tenants/acme')).json<{ id: string }>().id, 'acme')
    const rejected = [
      await acme('GET', '/tenants'),
      await acme('GET', '/tenants/beta'),
      await acme('GET', '/tenants/nobody'),
      await acme('PUT', '/tenants/acme', { share: 1000 }),
      await acme('DELETE', '/tenants/acme'),
      await acme('GET', '/tenants/acme/keys'),
      await acme('POST', '/tenants/acme/keys', {}),
      await acme('POST', '/tenants/operator/keys', {}),
      await acme('DELETE', '/tenants/acme/keys/000000000000'),
      await acme('GET', '/metrics'),
    ]
    for (const { statusCode, body } of rejected) assert.equal(statusCode, 403, body)
    const detailAt = (index: number) => rejected[index]?.json<{ detail: string }>().detail
    assert.equal(detailAt(1)?.replaceAll('beta', 'nobody'), detailAt(2), 'the error shows which tenants exist')
  })

  test('of metrics read only the metrics', async () => {
    const { key } = await create('metrics')
    assert.equal(await status(key, '/metrics'), 200)
    for (const url of ['/tasks', '/tasks/sst2', '/tenants', '/tenants/metrics'])
      assert.equal(await status(key, url), 403)
  })

  test('of the operator cannot all be revoked', async () => {
    const first = await create('operator')
    const second = await create('operator')
    assert.equal(await status(second.key, '/tenants'), 200)
    const revoke = (id: string) => keyClient(running.app, second.key)('DELETE', `/tenants/operator/keys/${id}`)
    assert.equal((await revoke(first.id)).statusCode, 204)
    assert.equal(await codeOf(revoke(second.id)), 'last_operator_key')
    assert.equal(await status(second.key, '/tenants'), 200)
  })

  test('and tasks are deleted with their tenant, and a new tenant of the same id has none', async () => {
    const made = await newTenant(running.app, 'gone')
    const { key } = await create('gone')
    assert.equal((await upload(running.app, 'mine', undefined, { authorization: `Bearer ${key}` })).statusCode, 201)
    assert.equal((await operator('DELETE', '/tenants/gone')).statusCode, 204)
    assert.equal((await made('GET', '/tasks')).statusCode, 401)
    for (const url of ['/tenants/gone', '/tenants/gone/keys'])
      assert.equal(await codeOf(operator('GET', url)), 'unknown_tenant')
    assert.equal(await codeOf(operator('DELETE', '/tenants/gone')), 'unknown_tenant')
    assert.equal(await codeOf(operator('POST', '/tenants/gone/keys', {})), 'unknown_tenant')
    const again = await newTenant(running.app, 'gone')
    assert.equal(await status(key), 401)
    assert.equal((await again('GET', '/tasks/mine')).statusCode, 404)
    assert.deepEqual((await again('GET', '/tenants/gone')).json<{ usage: object }>().usage, {
      tasks: 0,
      bytes: 0,
      examples: 0,
    })
  })
})

describe('the audit trail', () => {
  test('has one line for each change, with the actor and the state before and after', async () => {
    const { app, log } = await startRunning({ operatorKey })
    const operator = keyClient(app, operatorKey)
    await operator('PUT', '/tenants/acme', { limits: { tasks: 5 } }, { 'x-request-id': 'first' })
    const { id, key } = (await operator('POST', '/tenants/acme/keys', {})).json<CreatedKey>()
    const acme = { authorization: `Bearer ${key}` }
    const { version } = (await upload(app, 'mine', undefined, acme)).json<{ version: string }>()
    await upload(app, 'mine', Buffer.from('nonsense'), acme)
    await upload(app, 'mine', undefined, { ...acme, 'if-match': '"other"' })
    await app.inject({ method: 'DELETE', url: '/tasks/mine', headers: acme })
    await operator('DELETE', `/tenants/acme/keys/${id}`)
    await operator('DELETE', '/tenants/acme')
    const lines = log.filter(({ audit }) => audit === true)
    assert.deepEqual(
      lines.map(({ actor, action, tenant, object }) => [actor, action, tenant, object]),
      [
        ['operator/environment', 'tenant.put', 'acme', 'acme'],
        ['operator/environment', 'key.create', 'acme', id],
        [`acme/${id}`, 'task.put', 'acme', 'mine'],
        [`acme/${id}`, 'task.delete', 'acme', 'mine'],
        ['operator/environment', 'key.revoke', 'acme', id],
        ['operator/environment', 'tenant.close', 'acme', 'acme'],
        ['operator/environment', 'tenant.delete', 'acme', 'acme'],
      ],
    )
    assert.deepEqual([lines[0]?.request_id, lines[2]?.after, lines[3]?.before], ['first', version, version])
    assert.deepEqual(lines[6]?.before, { tasks: 0, bytes: 0, examples: 0 })
    const incarnations = [lines[0], lines[5], lines[6]].map((line) => line?.incarnation)
    assert.match(String(incarnations[0]), /^[0-9a-f-]{36}$/)
    assert.equal(new Set(incarnations).size, 1)
    assert.ok(lines.every(({ request_id }) => typeof request_id === 'string'))
  })
})
