// API keys in the store: expiry, number and revocation, and when a server may be used without keys.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { KeyedAccess } from '../../src/tenants/access.js'
import { findKey, Keys } from '../../src/tenants/keys.js'
import { limited, openStore } from './material.js'

const forever = { expires: null, description: null }
const start = Date.parse('2026-01-01T00:00:00Z')

describe('keys in the store', () => {
  test('are found by their text until the millisecond of their expiry', async () => {
    const { store, tenants } = await openStore()
    let now = start
    const keys = new Keys(store, () => now)
    await tenants.set('acme', limited({}))
    const { key, text } = await keys.create('acme', { expires: '2026-01-01T01:00:00+00:00', description: null })
    assert.equal(key.expires, '2026-01-01T01:00:00.000Z')
    now = start + 3_599_999
    assert.equal(findKey(store, text, now)?.id, key.id)
    now = start + 3_600_000
    assert.equal(findKey(store, text, now), undefined)
    assert.deepEqual(keys.list('acme'), [key], 'an expired key is listed until it is revoked')
    await store.close()
  })

  test('are all different, and an owner has 100 at most', async () => {
    const { store, tenants } = await openStore()
    const keys = new Keys(store)
    await tenants.set('acme', limited({}))
    const made = await Promise.allSettled(Array.from({ length: 101 }, () => keys.create('acme', forever)))
    const texts = made.flatMap((one) => (one.status === 'fulfilled' ? [one.value.text] : []))
    assert.equal(new Set(texts).size, 100)
    assert.equal(keys.list('acme').length, 100)
    await store.close()
  })

  test('of the operator: an expired key does not count as the one that has to remain', async () => {
    const { store } = await openStore()
    let now = start
    const keys = new Keys(store, () => now)
    const first = await keys.create('operator', forever)
    await keys.create('operator', { expires: '2026-01-02T00:00:00Z', description: null })
    now = start + 2 * 86_400_000
    await assert.rejects(keys.revoke('operator', first.key.id), { code: 'last_operator_key' })
    assert.ok(findKey(store, first.text, now))
    await store.close()
  })
})

describe('access', () => {
  test('is open on a machine with one user until there is a key or a tenant, and never again', async () => {
    for (const begin of ['key', 'tenant'] as const) {
      const { store, tenants } = await openStore()
      const access = new KeyedAccess(store, { operatorKey: undefined, mayBeOpen: true })
      assert.deepEqual(access.identify(undefined), { owner: 'operator', key: null })
      if (begin === 'key') await new Keys(store).create('operator', forever)
      else await tenants.set('acme', limited({}))
      assert.throws(() => access.identify(undefined), { code: 'unauthenticated' })
      await store.change((records) => {
        for (const table of ['keys', 'tenants'] as const)
          for (const [key] of [...records.range(table)]) records.remove(table, key)
      })
      assert.throws(() => access.identify(undefined), { code: 'unauthenticated' })
      await store.close()
    }
  })

  test('is never open if others can reach the server', async () => {
    const { store } = await openStore()
    const access = new KeyedAccess(store, { operatorKey: undefined, mayBeOpen: false })
    assert.throws(() => access.identify(undefined), { code: 'unauthenticated' })
    await store.close()
  })

  test('is denied to the key of a tenant that is being removed', async () => {
    const { store, tenants } = await openStore()
    const access = new KeyedAccess(store, { operatorKey: undefined, mayBeOpen: false })
    await tenants.set('acme', limited({}))
    const { text } = await new Keys(store).create('acme', forever)
    assert.equal(access.identify(`Bearer ${text}`).tenant?.id, 'acme')
    await tenants.close('acme')
    assert.throws(() => access.identify(`Bearer ${text}`), { code: 'unauthenticated' })
    await store.close()
  })
})
