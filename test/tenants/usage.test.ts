// Counters of what tenants have stored, and their quotas.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LmdbStore } from '../../src/store/lmdb.js'
import { TaskStore } from '../../src/tasks/store.js'
import { operator } from '../../src/tenants/tenant.js'
import { usageOf } from '../../src/tenants/usage.js'
import { temporaryDirectory } from '../material.js'
import { anyVersion, limited, newTenant, openStore } from './material.js'

const file = (bytes: number) => Buffer.alloc(bytes, 1)

describe('what a tenant has stored', () => {
  test('is counted in tasks and bytes, across replacements, removals and a restart', async () => {
    const directory = await temporaryDirectory()
    const { store, tasks, tenants } = await openStore(directory)
    const acme = await newTenant(tenants, 'acme')
    await tasks.put(acme, 'a', 'd1', file(100), anyVersion)
    await tasks.put(acme, 'b', 'd2', file(50), anyVersion)
    await tasks.put(acme, 'a', 'd3', file(30), anyVersion)
    await tasks.put(operator, 'a', 'd1', file(7), anyVersion)
    assert.deepEqual(
      [tenants.usage('acme'), tenants.usage(operator)],
      [
        { tasks: 2, bytes: 180, examples: 0 },
        { tasks: 1, bytes: 7, examples: 0 },
      ],
    )
    await tasks.delete(acme, 'b', anyVersion)
    await tasks.delete(acme, 'none', anyVersion)
    await store.close()
    const again = await openStore(directory)
    assert.deepEqual(again.tenants.usage('acme'), { tasks: 1, bytes: 130, examples: 0 })
    await again.store.close()
  })

  test('can reach the quota exactly; above it, changes that do not grow are still accepted', async () => {
    const { store, tasks, tenants } = await openStore()
    const acme = await newTenant(tenants, 'acme', { tasks: 2, bytes: 100 })
    await tasks.put(acme, 'a', 'd', file(60), anyVersion)
    await assert.rejects(tasks.put(acme, 'b', 'd', file(41), anyVersion), {
      code: 'quota_exceeded',
      details: { quota: 'bytes', used: 60, limit: 100 },
    })
    assert.equal(tasks.digest('acme', 'b'), undefined)
    await tasks.put(acme, 'b', 'd', file(40), anyVersion)
    await assert.rejects(tasks.put(acme, 'c', 'd', file(0), anyVersion), {
      details: { quota: 'tasks', used: 2, limit: 2 },
    })
    await assert.rejects(tasks.put(acme, 'b', 'd1', file(41), anyVersion), { code: 'quota_exceeded' })
    await tenants.set('acme', limited({ tasks: 0, bytes: 0 }))
    await tasks.put(acme, 'b', 'd2', file(39), anyVersion)
    await assert.rejects(tasks.put(acme, 'b', 'd3', file(40), anyVersion), { code: 'quota_exceeded' })
    await tasks.delete(acme, 'a', anyVersion)
    assert.deepEqual(tenants.usage('acme'), { tasks: 1, bytes: 39, examples: 0 })
    await store.close()
  })

  test('cannot exceed the quota through concurrent uploads', async () => {
    const { store, tasks, tenants } = await openStore()
    const acme = await newTenant(tenants, 'acme', { tasks: 5 })
    const outcomes = await Promise.allSettled(
      Array.from({ length: 40 }, (_, i) => tasks.put(acme, `t${i}`, 'd', file(10), anyVersion)),
    )
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 5)
    assert.deepEqual(tenants.usage('acme'), { tasks: 5, bytes: 50, examples: 0 })
    assert.equal(tasks.list('acme', '', 100).length, 5)
    await store.close()
  })

  test('is counted for the operator when a store of an earlier version is opened', async () => {
    const directory = await temporaryDirectory()
    const old = LmdbStore.open(directory)
    await old.change((records) => {
      for (const [id, bytes] of [
        ['a', 10],
        ['zz', 32],
      ] as const) {
        records.put('versions', id, Buffer.from('d'))
        records.put('files', id, file(bytes))
      }
    })
    const tasks = await TaskStore.open(old)
    assert.deepEqual(usageOf(old, operator), { tasks: 2, bytes: 42, examples: 0 })
    assert.deepEqual(
      tasks.list(operator, '', 10).map(({ id }) => id),
      ['a', 'zz'],
    )
    await old.close()
  })
})
