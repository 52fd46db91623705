import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { LmdbStore } from '../../src/store/lmdb.js'
import { finishRemovals, removeTenant } from '../../src/tasks/removal.js'
import { TaskStore } from '../../src/tasks/store.js'
import { operator } from '../../src/tenants/tenant.js'
import { usageOf } from '../../src/tenants/usage.js'
import { temporaryDirectory } from '../material.js'
import { any, limited, openStore } from './material.js'

const file = (bytes: number) => Buffer.alloc(bytes, 1)

describe('what a tenant has stored', () => {
  test('is counted in tasks and bytes, over replacements, removals and a restart', async () => {
    const directory = await temporaryDirectory()
    const { store, tasks, tenants } = await openStore(directory)
    await tenants.set('acme', limited({}))
    await tasks.put('acme', 'a', 'd1', file(100), any)
    await tasks.put('acme', 'b', 'd2', file(50), any)
    await tasks.put('acme', 'a', 'd3', file(30), any)
    await tasks.put(operator, 'a', 'd1', file(7), any)
    assert.deepEqual(
      [tenants.usage('acme'), tenants.usage(operator)],
      [
        { tasks: 2, bytes: 80 },
        { tasks: 1, bytes: 7 },
      ],
    )
    await tasks.delete('acme', 'b', any)
    await tasks.delete('acme', 'none', any)
    await store.close()
    const again = await openStore(directory)
    assert.deepEqual(again.tenants.usage('acme'), { tasks: 1, bytes: 30 })
    await again.store.close()
  })

  test('ends exactly at the quota; what does not grow is let through above it', async () => {
    const { store, tasks, tenants } = await openStore()
    await tenants.set('acme', limited({ tasks: 2, bytes: 100 }))
    await tasks.put('acme', 'a', 'd', file(60), any)
    await assert.rejects(tasks.put('acme', 'b', 'd', file(41), any), {
      code: 'quota_exceeded',
      details: { quota: 'bytes', used: 60, limit: 100 },
    })
    assert.equal(tasks.digest('acme', 'b'), undefined)
    await tasks.put('acme', 'b', 'd', file(40), any)
    await assert.rejects(tasks.put('acme', 'c', 'd', file(0), any), { details: { quota: 'tasks', used: 2, limit: 2 } })
    await assert.rejects(tasks.put('acme', 'b', 'd', file(41), any), { code: 'quota_exceeded' })
    await tenants.set('acme', limited({ tasks: 0, bytes: 0 }))
    await tasks.put('acme', 'b', 'd2', file(39), any)
    await assert.rejects(tasks.put('acme', 'b', 'd2', file(40), any), { code: 'quota_exceeded' })
    await tasks.delete('acme', 'a', any)
    assert.deepEqual(tenants.usage('acme'), { tasks: 1, bytes: 39 })
    await store.close()
  })

  test('cannot pass the quota by many uploads at once', async () => {
    const { store, tasks, tenants } = await openStore()
    await tenants.set('acme', limited({ tasks: 5 }))
    const outcomes = await Promise.allSettled(
      Array.from({ length: 40 }, (_, i) => tasks.put('acme', `t${i}`, 'd', file(10), any)),
    )
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 5)
    assert.deepEqual(tenants.usage('acme'), { tasks: 5, bytes: 50 })
    assert.equal(tasks.list('acme', '', 100).length, 5)
    await store.close()
  })

  test('by the operator is counted where the store is from before there were counts', async () => {
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
    assert.deepEqual(usageOf(old, operator), { tasks: 2, bytes: 42 })
    assert.deepEqual(
      tasks.list(operator, '', 10).map(({ id }) => id),
      ['a', 'zz'],
    )
    await old.close()
  })
})

describe('a tenant that is removed', () => {
  test('takes its many tasks with it, and no other’s', async () => {
    const { store, tasks, tenants } = await openStore()
    for (const id of ['acme', 'acme-2', 'acmf']) await tenants.set(id, limited({}))
    const many = Array.from({ length: 1_201 }, (_, i) => `t${i}`)
    await Promise.all(many.map((id) => tasks.put('acme', id, 'd', file(3), any)))
    for (const owner of ['acme-2', 'acmf', operator]) await tasks.put(owner, 't1', 'd', file(3), any)
    assert.equal(await removeTenant(tenants, tasks, 'acme'), 1_201)
    assert.throws(() => tenants.get('acme'), { code: 'unknown_tenant' })
    assert.deepEqual([tasks.count, tasks.countOf('acme'), tasks.list('acme', '', 10)], [3, 0, []])
    for (const owner of ['acme-2', 'acmf', operator]) assert.equal(tasks.digest(owner, 't1'), 'd')
    await store.close()
  })

  test('is gone at the first step; its name is free at the last, which the next start makes up for', async () => {
    const directory = await temporaryDirectory()
    const before = await openStore(directory)
    await before.tenants.set('acme', limited({}))
    await before.tasks.put('acme', 'mine', 'd', file(3), any)
    await before.tenants.close('acme')
    assert.throws(() => before.tenants.get('acme'), { code: 'unknown_tenant' })
    assert.deepEqual(before.tenants.list('', 10), [])
    await assert.rejects(before.tenants.set('acme', limited({})), { code: 'tenant_leaving' })
    await assert.rejects(before.tasks.put('acme', 'late', 'd', file(3), any), { code: 'unknown_tenant' })
    await before.store.close()

    const { store, tasks, tenants } = await openStore(directory)
    await finishRemovals(tenants, tasks)
    assert.equal(store.count('versions') + store.count('files') + store.count('tenants'), 0)
    await tenants.set('acme', limited({}))
    assert.deepEqual(tasks.list('acme', '', 10), [])
    await store.close()
  })
})
