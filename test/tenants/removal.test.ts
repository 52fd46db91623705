// Removals of tenants: interruptions, late requests, and concurrent creation of a tenant with the same id.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import fc from 'fast-check'
import { pino } from 'pino'
import { Problem } from '../../src/problem.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { Mirror } from '../../src/store/mirror.js'
import { PostgresStore } from '../../src/store/postgres.js'
import { recordsIn, type Store } from '../../src/store/store.js'
import { finishRemovals, removeTenant, type TenantStores } from '../../src/tasks/removal.js'
import { TaskStore } from '../../src/tasks/store.js'
import { KeyedAccess, taskOwnerOf } from '../../src/tenants/access.js'
import { Keys } from '../../src/tenants/keys.js'
import { operator } from '../../src/tenants/tenant.js'
import { Tenants } from '../../src/tenants/tenants.js'
import { usageOf } from '../../src/tenants/usage.js'
import { temporaryDirectory } from '../material.js'
import { PostgresServer, sql, withoutPostgres } from '../postgres.js'
import { anyVersion, limited, newTenant, openStore, removerOf } from './material.js'
import { type TurnOrder, Turns, turnOrders } from './turns.js'

const file = (bytes: number) => Buffer.alloc(bytes, 1)
const forever = { expires: null, description: null }
/** More tasks than one transaction removes. */
const many = Array.from({ length: 1_201 }, (_, i) => `t${i}`)

/** A store whose changes go through `pass`, which may delay or reject them. */
const withGate = (store: Store, pass: <T>(make: () => Promise<T>) => Promise<T>): Store => ({
  get: (table, key) => store.get(table, key),
  prefetch: (table, key) => store.prefetch(table, key),
  range: (table, range) => store.range(table, range),
  count: (table) => store.count(table),
  change: (change) => pass(() => store.change(change)),
  sharedFile: undefined,
  onSharedFile: () => {},
  failure: undefined,
  following: undefined,
  abortChanges: () => store.abortChanges(),
  close: () => store.close(),
})

const storesOn = async (store: Store): Promise<TenantStores> => ({
  tenants: new Tenants(store),
  tasks: await TaskStore.open(store),
})

const assertRejected = (text: string, { store }: { store: Store }) =>
  assert.throws(() => accessTo(store).identify(`Bearer ${text}`), { code: 'unauthenticated' })

const accessTo = (store: Store) => new KeyedAccess(store, { operatorKey: undefined, mayBeOpen: false })

async function until(holds: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 3_000; tries++) {
    if (holds()) return
    await delay(10)
  }
  assert.fail(`timed out waiting until ${what}`)
}

describe('a tenant that is removed', () => {
  test('loses all of its many tasks, and other owners lose none', async () => {
    const { store, tasks, tenants } = await openStore()
    const acme = await newTenant(tenants, 'acme')
    const others = [await newTenant(tenants, 'acme-2'), await newTenant(tenants, 'acmf'), operator] as const
    await Promise.all(many.map((id) => tasks.put(acme, id, 'd', file(3), anyVersion)))
    for (const owner of others) await tasks.put(owner, 't1', 'd', file(3), anyVersion)
    const by = removerOf('someone')
    assert.equal(await removeTenant({ tenants, tasks }, 'acme', by), many.length)
    assert.throws(() => tenants.get('acme'), { code: 'unknown_tenant' })
    assert.deepEqual([tasks.count, tasks.countOf('acme'), tasks.list('acme', '', 10)], [3, 0, []])
    for (const owner of ['acme-2', 'acmf', operator]) assert.equal(tasks.digest(owner, 't1'), 'd')
    const { incarnation } = acme
    assert.deepEqual(
      by.lines.map(({ actor, action, tenant, incarnation, before }) => [actor, action, tenant, incarnation, before]),
      [
        ['someone', 'tenant.close', 'acme', incarnation, { limits: acme.limits, share: 1 }],
        ['someone', 'tenant.delete', 'acme', incarnation, { tasks: many.length, bytes: 3 * many.length, examples: 0 }],
      ],
    )
    await assert.rejects(removeTenant({ tenants, tasks }, 'acme', by), { code: 'unknown_tenant' })
    await store.close()
  })

  test('has no access after the first step; its id is free after the last, which the next start completes', async () => {
    const directory = await temporaryDirectory()
    const before = await openStore(directory)
    const acme = await newTenant(before.tenants, 'acme')
    await before.tasks.put(acme, 'mine', 'd', file(3), anyVersion)
    const { key } = await new Keys(before.store).create('acme', forever)
    await before.tenants.close('acme')
    assert.throws(() => before.tenants.get('acme'), { code: 'unknown_tenant' })
    assert.deepEqual(before.tenants.list('', 10), [])
    await assert.rejects(before.tenants.set('acme', limited({})), { code: 'tenant_leaving' })
    await assert.rejects(before.tasks.put(acme, 'late', 'd', file(3), anyVersion), { code: 'unknown_tenant' })
    await assert.rejects(before.tasks.delete(acme, 'mine', anyVersion), { code: 'unknown_tenant' })
    await assert.rejects(new Keys(before.store).create('acme', forever), { code: 'unknown_tenant' })
    await assert.rejects(new Keys(before.store).revoke('acme', key.id), { code: 'unknown_tenant' })
    assert.throws(() => new Keys(before.store).list('acme'), { code: 'unknown_tenant' })
    await before.store.close()

    const { store, tasks, tenants } = await openStore(directory)
    const stop = new AbortController()
    const by = removerOf('server')
    const finishing = finishRemovals({ tenants, tasks }, by, stop.signal)
    await until(() => store.count('tenants') === 0, 'the removal is finished')
    assert.equal(store.count('versions') + store.count('files') + store.count('keys'), 0)
    await tenants.set('acme', limited({}))
    assert.deepEqual(tasks.list('acme', '', 10), [])
    stop.abort()
    await finishing
    assert.deepEqual(by.steps(), ['tenant.delete'])
    await store.close()
  })

  test('can be removed completely after an interruption at any of its transactions', async () => {
    for (let cut = 1; ; cut++) {
      const { store, tasks, tenants } = await openStore()
      const acme = await newTenant(tenants, 'acme')
      await Promise.all(many.map((id) => tasks.put(acme, id, 'd', file(3), anyVersion)))
      let changes = 0
      const cutOff = await storesOn(
        withGate(store, async (make) => {
          if (++changes > cut) throw new Problem('storage_failed', 'cut off')
          return make()
        }),
      )
      const by = removerOf('someone')
      const done = await removeTenant(cutOff, 'acme', by).then(
        () => true,
        (error: Problem) => error.code !== 'storage_failed',
      )
      if (!done) {
        const { level, tenant, tasks: total, removed } = by.lines.at(-1) ?? {}
        assert.deepEqual(
          [level, tenant, total, removed],
          [50, 'acme', many.length, many.length - tasks.list('acme', '', 2_000).length],
        )
        await assert.rejects(tenants.set('acme', limited({})), { code: 'tenant_leaving' })
        assert.equal(await removeTenant({ tenants, tasks }, 'acme', by), many.length)
      }
      assert.deepEqual(by.steps(), ['tenant.close', 'tenant.delete'])
      assert.equal(store.count('versions') + store.count('files') + store.count('tenants') + store.count('keys'), 0)
      await store.close()
      if (done) return assert.ok(cut > 4, 'the removal took fewer transactions than this test needs')
    }
  })

  test('is removed in the background after failures and interruptions, until the server stops', async () => {
    const { store, tasks, tenants } = await openStore()
    const [acme, beta] = [await newTenant(tenants, 'acme'), await newTenant(tenants, 'beta')]
    await Promise.all(many.map((id) => tasks.put(acme, id, 'd', file(3), anyVersion)))
    await tasks.put(beta, 'mine', 'd', file(3), anyVersion)
    await tenants.close('acme')
    let failures = 0
    const failing = await storesOn(
      withGate(store, async (make) => {
        if (failures === 3) return make()
        failures++
        throw new Problem('storage_failed', 'the disk is full')
      }),
    )
    const by = removerOf('server')
    const stop = new AbortController()
    const finishing = finishRemovals(failing, by, stop.signal, { look: 20, retry: 1 })
    await until(() => store.get('tenants', 'acme') === undefined, 'a retry succeeds')
    assert.deepEqual([failures, by.lines.filter(({ reason }) => reason === 'the disk is full').length], [3, 3])
    await tenants.close('beta')
    await until(() => store.count('tenants') === 0, 'a removal that was interrupted later is finished')
    stop.abort()
    await finishing
    assert.deepEqual([store.count('versions'), store.count('files'), store.count('usage')], [0, 0, 1])
    await store.close()
  })

  test('stays partly removed when the server stops between two transactions, and the next start continues', async () => {
    const { store, tasks, tenants } = await openStore()
    const acme = await newTenant(tenants, 'acme')
    await Promise.all(many.map((id) => tasks.put(acme, id, 'd', file(3), anyVersion)))
    await tenants.close('acme')
    const stop = new AbortController()
    const by = removerOf('server')
    const stopping = withGate(store, (make) => {
      stop.abort()
      return make()
    })
    await finishRemovals(await storesOn(stopping), by, stop.signal)
    assert.equal(tasks.list('acme', '', 2_000).length, many.length - 500)
    assert.deepEqual(by.lines, [])
    await removeTenant({ tenants, tasks }, 'acme', by)
    assert.equal(store.count('files'), 0)
    await store.close()
  })

  test('leaves no key that works for a later tenant, even if an old key record comes back', async () => {
    const { store, tasks, tenants } = await openStore()
    const keys = new Keys(store)
    await newTenant(tenants, 'acme')
    const { key, text } = await keys.create('acme', forever)
    const record = store.get('keys', `acme/${key.id}`) ?? assert.fail()
    await removeTenant({ tenants, tasks }, 'acme', removerOf('someone'))
    const restore = () => store.change((records) => records.put('keys', `acme/${key.id}`, record))
    await restore()
    assertRejected(text, { store })
    await newTenant(tenants, 'acme')
    assert.equal(store.count('keys'), 0, 'keys that were left behind are removed')
    await restore()
    assertRejected(text, { store })
    assert.deepEqual(keys.list('acme'), [])
    await assert.rejects(keys.revoke('acme', key.id), { code: 'unknown_key' })
    const made = await Promise.allSettled(Array.from({ length: 101 }, () => keys.create('acme', forever)))
    assert.equal(made.filter(({ status }) => status === 'fulfilled').length, 100)
    await store.close()
  })

  test('of an earlier version without incarnations keeps its keys, which do not work for a later tenant', async () => {
    const { store, tasks, tenants } = await openStore()
    const keys = new Keys(store)
    await newTenant(tenants, 'acme')
    const { key, text } = await keys.create('acme', forever)
    // The records as earlier versions wrote them.
    const json = (table: 'tenants' | 'keys', id: string) => JSON.parse(String(store.get(table, id)))
    const { hash, ...terms } = json('keys', `acme/${key.id}`)
    const { limits, share, created } = json('tenants', 'acme')
    const oldKey = Buffer.from(JSON.stringify({ hash, ...terms, incarnation: undefined }))
    await store.change((records) => {
      records.put('keys', `acme/${key.id}`, oldKey)
      records.put('tenants', 'acme', Buffer.from(JSON.stringify({ created, limits, share })))
    })
    const caller = accessTo(store).identify(`Bearer ${text}`)
    await tenants.set('acme', limited({ tasks: 1 }))
    await tasks.put(taskOwnerOf(caller), 'mine', 'd', file(3), anyVersion)
    const { text: another } = await keys.create('acme', forever)
    assert.equal(accessTo(store).identify(`Bearer ${another}`).tenant?.limits.tasks, 1)
    assert.equal(keys.list('acme').length, 2)

    assert.equal(await removeTenant({ tenants, tasks }, 'acme', removerOf('someone')), 1)
    await newTenant(tenants, 'acme')
    await store.change((records) => records.put('keys', `acme/${key.id}`, oldKey))
    assertRejected(text, { store })
    await assert.rejects(tasks.put(taskOwnerOf(caller), 'mine', 'd', file(3), anyVersion), { code: 'unknown_tenant' })
    await store.close()
  })

  test('cannot learn from a late upload what the next tenant with its id has', async () => {
    const { store, tasks, tenants } = await openStore()
    const old = await newTenant(tenants, 'acme')
    await removeTenant({ tenants, tasks }, 'acme', removerOf('someone'))
    const next = await newTenant(tenants, 'acme', { tasks: 0 })
    await tenants.set('acme', limited({}))
    await tasks.put(next, 'mine', 'd', file(3), anyVersion)
    const failingPrecondition = (current: string | undefined) => assert.fail(`the precondition saw ${current}`)
    await assert.rejects(tasks.put(old, 'mine', 'd', file(3), failingPrecondition), { code: 'unknown_tenant' })
    await assert.rejects(tasks.delete(old, 'mine', failingPrecondition), { code: 'unknown_tenant' })
    assert.deepEqual(usageOf(store, 'acme'), { tasks: 1, bytes: 3, examples: 0 })
    await store.close()
  })
})

/** The changes of a race that were acknowledged. */
interface History {
  /** Incarnations in the order of their creation. */
  readonly made: string[]
  readonly keys: { readonly text: string; readonly incarnation: string }[]
  /** The sizes in bytes of the tasks that were stored and not deleted, by incarnation and id. */
  readonly stored: Map<string, number>
}

/** Ignores the errors that are normal in a race. */
const ignoreExpected = (error: unknown) => {
  if (error instanceof Problem && ['unknown_tenant', 'unauthenticated', 'unknown_task'].includes(error.code)) return
  throw error
}

/** The numbers of the actors in a race, by what they do. */
const actors = { remove: [0, 1, 2], make: [3, 4], use: [5, 6, 7, 8, 9, 10], background: [11, 12] } as const
const orders = turnOrders(13, 30)

/**
 * Removes a tenant several times, creates it, uploads and deletes its tasks and creates keys, all at the same time.
 * Each actor uses one of the stores. The order decides whose change comes next.
 */
async function race(stores: readonly Store[], order: TurnOrder) {
  const history: History = { made: [], keys: [], stored: new Map() }
  const by = removerOf('anyone')
  const turns = new Turns(order)
  const first = stores[0] ?? assert.fail()
  const tasks = await TaskStore.open(first)
  const acme = await newTenant(new Tenants(first), 'acme')
  history.made.push(acme.incarnation)
  await Promise.all(many.slice(0, 501).map((id) => tasks.put(acme, `old-${id}`, 'd', file(2), anyVersion)))

  const viewOf = async (actor: number) => {
    const view = withGate(stores[actor % stores.length] ?? first, (make) => turns.take(actor, make))
    return { ...(await storesOn(view)), keys: new Keys(view), access: accessTo(view) }
  }
  const remove = async (actor: number) =>
    void (await removeTenant(await viewOf(actor), 'acme', by).catch(ignoreExpected))
  const make = async (actor: number) => {
    const { tenants } = await viewOf(actor)
    for (let times = 0; times < 3; )
      try {
        const { tenant, previous } = await tenants.set('acme', limited({}))
        if (previous === undefined) history.made.push(tenant.incarnation)
        times++
      } catch (error) {
        if (!(error instanceof Problem) || error.code !== 'tenant_leaving') throw error
      }
  }
  const use = async (actor: number) => {
    const { keys, access, tasks } = await viewOf(actor)
    for (let times = 0; times < 3; times++)
      try {
        const { text } = await keys.create('acme', forever)
        const caller = access.identify(`Bearer ${text}`)
        const incarnation = caller.tenant?.incarnation ?? assert.fail()
        history.keys.push({ text, incarnation })
        const owner = taskOwnerOf(caller)
        const [id, bytes] = [`task-${actor}`, 10 * actor + times]
        await tasks.put(owner, id, `${incarnation}.${bytes}`, file(bytes), anyVersion)
        history.stored.set(`${incarnation}/${id}`, bytes)
        if (actor % 2 === 0) continue
        await tasks.delete(owner, id, anyVersion)
        history.stored.delete(`${incarnation}/${id}`)
      } catch (error) {
        ignoreExpected(error)
      }
  }
  const stop = new AbortController()
  const background = actors.background.map(async (actor) =>
    finishRemovals(await viewOf(actor), by, stop.signal, { look: 1, retry: 1 }),
  )
  await Promise.all([...actors.remove.map(remove), ...actors.make.map(make), ...actors.use.map(use)])
  // Removals that are still running finish first.
  await until(() => !stores.some((store) => String(store.get('tenants', 'acme')).includes('leaving')), 'removals end')
  stop.abort()
  await Promise.all(background)
  return { history, by }
}

/** Checks what must hold after a race in any order. */
function checkRace(store: Store, { history, by }: Awaited<ReturnType<typeof race>>): void {
  const of = (wanted: string) =>
    by.lines.flatMap(({ action, incarnation }) => (action === wanted ? [String(incarnation)] : []))
  const [closed, deleted] = [of('tenant.close'), of('tenant.delete')]
  assert.deepEqual(
    by.lines.filter(({ audit }) => audit !== true),
    [],
  )
  assert.deepEqual([closed.length, new Set(closed).size], [deleted.length, deleted.length])
  assert.deepEqual(closed.toSorted(), deleted.toSorted())
  const left = history.made.filter((incarnation) => !closed.includes(incarnation))
  assert.ok(left.length <= 1, 'two tenants existed at the same time')
  const [current] = left
  const record = store.get('tenants', 'acme')
  assert.equal(record && JSON.parse(String(record)).incarnation, current, 'the remaining tenant is missing')

  const expected = new Map([...history.stored].filter(([name]) => name.startsWith(`${current}/`)))
  const sizes = (table: 'files' | 'kept') =>
    Array.from(store.range(table, recordsIn('~acme')), ([key, bytes]) => [key, bytes.byteLength] as const)
  const listed = sizes('files').map(([key, bytes]) => {
    const [incarnation] = String(store.get('versions', key)).split('.')
    return [`${incarnation}/${key.slice('~acme/'.length)}`, bytes] as const
  })
  assert.deepEqual(new Map(listed), expected)
  const bytes = [...listed, ...sizes('kept')].reduce((sum, [, bytes]) => sum + bytes, 0)
  assert.deepEqual(usageOf(store, 'acme'), { tasks: listed.length, bytes, examples: 0 })
  for (const { text, incarnation } of history.keys)
    if (incarnation === current) assert.equal(accessTo(store).identify(`Bearer ${text}`).owner, 'acme')
    else assertRejected(text, { store })
}

describe('concurrent removals, creations, uploads and keys of tenants with the same id', () => {
  test('lose nothing of the new tenant and show nothing of the old one, in any order', async () => {
    await fc.assert(
      fc.asyncProperty(orders, async (order) => {
        const store = LmdbStore.open(await temporaryDirectory())
        checkRace(store, await race([store], order))
        await store.close()
      }),
      { numRuns: 30 },
    )
  })

  test('lose nothing and show nothing on two replicas, either', { skip: withoutPostgres }, async () => {
    const server = await PostgresServer.start()
    const logger = pino({ level: 'silent' })
    const replica = async (url: string) =>
      PostgresStore.open({ url, mirror: await Mirror.open(await temporaryDirectory(), logger), logger })
    let databases = 0
    await fc.assert(
      fc.asyncProperty(orders, async (order) => {
        const name = `race${++databases}`
        await sql(server.url(), `create database ${name}`)
        const stores = [await replica(server.url(name)), await replica(server.url(name))]
        const result = await race(stores, order)
        for (const store of stores) {
          // A change that writes nothing brings the mirror to the newest state.
          await store.change(() => {})
          checkRace(store, result)
          await store.close()
        }
      }),
      { numRuns: 6 },
    )
  })
})
