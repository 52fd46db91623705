// Examples that were deleted leave the store in the background, also after interruptions, and with their tenant.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { ExampleStore } from '../../src/examples/example-store.js'
import type { Store, StoreWriter } from '../../src/store/store.js'
import { removeTenant } from '../../src/tasks/removal.js'
import { sweepDatasets } from '../../src/tasks/removed-datasets.js'
import { taskKey } from '../../src/tasks/task-key.js'
import { operator } from '../../src/tenants/tenant.js'
import { noUsage } from '../../src/tenants/usage.js'
import { anyVersion, newTenant, openStore, removerOf } from '../tenants/material.js'

const numbered = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ text: `text ${i}`, label: 'a', source: 'upload' }) as const)

/** Runs a sweep until the store has no more removed datasets. */
async function sweepAll(store: Store): Promise<void> {
  const stop = new AbortController()
  const lines: string[] = []
  const sweeping = sweepDatasets(store, { error: (_, message) => lines.push(message) }, stop.signal, 5)
  for (let tries = 0; store.count('removals') > 0 && tries < 2_000; tries++) await delay(5)
  stop.abort()
  await sweeping
  assert.equal(store.count('removals'), 0)
}

describe('the examples of a deleted task', () => {
  test('leave the store, and those of others stay', async () => {
    const { store, tasks } = await openStore()
    const examples = new ExampleStore(store)
    for (const id of ['a', 'a.b', 'a-b', 'ab']) await examples.put(operator, id, numbered(1_300))
    await tasks.put(operator, 'a', 'd', Buffer.alloc(3), anyVersion)
    await tasks.delete(operator, 'a', anyVersion)
    // Examples that are posted now belong to another dataset.
    await examples.put(operator, 'a', numbered(2))
    await sweepAll(store)
    assert.equal(store.count('examples'), 3 * 1_300 + 2)
    assert.equal(examples.dataset(operator, 'a')?.examples, 2)
    await store.close()
  })

  test('leave the store although the sweep is interrupted after each transaction', async () => {
    const { store } = await openStore()
    const examples = new ExampleStore(store)
    await examples.put(operator, 'a', numbered(1_300))
    await examples.deleteAll(operator, 'a')
    const counts: number[] = []
    while (store.count('removals') > 0) {
      const stop = new AbortController()
      const once: Store = Object.create(store, {
        change: {
          value: (change: (records: StoreWriter) => unknown) => {
            stop.abort()
            return store.change(change)
          },
        },
      })
      await sweepDatasets(once, { error: (_, message) => assert.fail(message) }, stop.signal, 5)
      counts.push(store.count('examples'))
    }
    assert.deepEqual(counts, [800, 300, 0])
    await store.close()
  })
})

test('a tenant that is removed leaves no record in any table', async () => {
  const { store, tasks, tenants } = await openStore()
  const examples = new ExampleStore(store)
  const acme = await newTenant(tenants, 'acme')
  const other = await newTenant(tenants, 'acme-2')
  for (const tenant of [acme, other]) {
    await tasks.put(tenant, 'a', 'd', Buffer.alloc(3), anyVersion)
    await examples.put(tenant, 'a', numbered(700))
    await examples.put(tenant, 'draft', numbered(10))
    await examples.put(tenant, 'removed', numbered(10))
    await examples.deleteAll(tenant, 'removed')
    await store.change((records) => {
      const key = taskKey(tenant.id, 'a')
      for (const table of ['history', 'kept', 'reports', 'recent'] as const)
        records.put(table, `${key}/00000001`, Buffer.alloc(10))
      for (const table of ['jobs', 'unfinished'] as const) records.put(table, `${tenant.id}/1`, Buffer.alloc(10))
    })
  }
  const counted = [
    'versions',
    'files',
    'history',
    'kept',
    'reports',
    'datasets',
    'examples',
    'removals',
    'recent',
    'jobs',
    'unfinished',
  ] as const
  const before = counted.map((table) => store.count(table))
  assert.equal(await removeTenant({ tenants, tasks }, 'acme', removerOf('someone')), 2)
  assert.deepEqual(
    counted.map((table) => store.count(table)),
    before.map((count) => count / 2),
  )
  assert.deepEqual(tenants.usage('acme'), noUsage)
  assert.equal(tenants.usage('acme-2').examples, 710)
  await store.close()
})
