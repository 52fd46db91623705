// Examples on two replicas of one database: the same post at both, and a deletion that both sweep.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import type { NewExample } from '../../src/examples/example.js'
import { ExampleStore } from '../../src/examples/example-store.js'
import { sweepDatasets } from '../../src/tasks/removed-datasets.js'
import { operator } from '../../src/tenants/tenant.js'
import { noUsage, usageOf } from '../../src/tenants/usage.js'
import { PostgresServer, withoutPostgres } from '../postgres.js'
import { replica, until } from '../store/replica.js'

const labelled = (label: string): NewExample[] =>
  Array.from({ length: 1_200 }, (_, i) => ({ text: `text ${i}`, label, source: 'upload' }))

describe('examples of replicas', { skip: withoutPostgres }, () => {
  let server: PostgresServer
  before(async () => {
    server = await PostgresServer.start()
  })

  test('are counted once when both get the same post, and are removed by both', async () => {
    const replicas = [await replica(server.url()), await replica(server.url())]
    const stores = replicas.map(({ store }) => new ExampleStore(store))
    const counts = await Promise.all(stores.map((examples) => examples.put(operator, 't', labelled('a'))))
    assert.equal(
      counts.reduce((sum, { added }) => sum + added, 0),
      1_200,
    )
    const dataset = () => stores.map((examples) => examples.dataset(operator, 't')?.examples)
    await until(() => dataset().every((examples) => examples === 1_200), 'both replicas have all examples')
    for (const { store } of replicas) assert.equal(store.count('examples'), 1_200)
    await stores[1]?.put(operator, 't', labelled('b'))
    await until(() => stores[0]?.dataset(operator, 't')?.labels.b === 1_200, 'the other replica has the labels')
    await stores[0]?.deleteAll(operator, 't')
    const stop = new AbortController()
    const log = { error: (_: object, message: string) => assert.fail(message) }
    const sweeping = replicas.map(({ store }) => sweepDatasets(store, log, stop.signal, 10))
    await until(
      () => replicas.every(({ store }) => store.count('examples') + store.count('removals') === 0),
      'both replicas have no example',
    )
    stop.abort()
    await Promise.all(sweeping)
    for (const { store } of replicas) assert.deepEqual(usageOf(store, operator), noUsage)
  })
})
