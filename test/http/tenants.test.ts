import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { operatorKey, type Running, startRunning } from './running.js'

describe('PATCH of a tenant', () => {
  let keyed: Running
  before(async () => {
    keyed = await startRunning({ operatorKey })
  })
  const send = async (method: 'PUT' | 'PATCH', payload: object, id = 'patched') => {
    const headers = { authorization: `Bearer ${operatorKey}` }
    const response = await keyed.app.inject({ method, url: `/tenants/${id}`, headers, payload })
    return { status: response.statusCode, ...response.json<{ limits: object; share: number; code?: string }>() }
  }

  test('keeps the settings that it does not name, which PUT removes', async () => {
    await send('PUT', { limits: { tasks: 5, bytes: 1_000 }, share: 3 })
    const patched = await send('PATCH', { limits: { tasks: 7 } })
    assert.deepEqual(
      [patched.status, patched.limits, patched.share],
      [200, { tasks: 7, bytes: 1_000, examples: null, requests_per_second: null, tokens_per_second: null }, 3],
    )
    assert.deepEqual((await send('PATCH', { limits: { bytes: null }, share: 2 })).limits, {
      tasks: 7,
      bytes: null,
      examples: null,
      requests_per_second: null,
      tokens_per_second: null,
    })
    assert.deepEqual((await send('PUT', { limits: { tasks: 1 } })).share, 1)
  })

  test('creates no tenant', async () => {
    assert.deepEqual((await send('PATCH', {}, 'nobody')).code, 'unknown_tenant')
  })
})
