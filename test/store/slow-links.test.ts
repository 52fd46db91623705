// Replicas whose link to the database is slow or dead, and the effect on other replicas.

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { after, before, describe, test } from 'node:test'
import pg from 'pg'
import type { Problem } from '../../src/problem.js'
import { findKey, Keys } from '../../src/tenants/keys.js'
import { defaults, operator } from '../../src/tenants/tenant.js'
import { Tenants } from '../../src/tenants/tenants.js'
import { PostgresServer, sql, withoutPostgres } from '../postgres.js'
import { TcpProxy } from '../tcp-proxy.js'
import { anyVersion, file, type Replica, replica, until } from './replica.js'

const large = randomBytes(2 * 1024 * 1024)
const bytesPerSecond = 500_000

describe('a replica on a slow link', { skip: withoutPostgres }, () => {
  let server: PostgresServer
  let databases = 0
  before(async () => {
    server = await PostgresServer.start()
  })

  /** A replica behind a link of its own, and another with a direct connection. */
  async function pair(): Promise<{ url: string; link: TcpProxy; slow: Replica; other: Replica }> {
    const name = `d${++databases}`
    await sql(server.url(), `create database ${name}`)
    const link = await TcpProxy.start(server.port)
    after(() => link.close())
    const other = await replica(server.url(name))
    return { url: server.url(name), link, slow: await replica(server.url(name, link.port)), other }
  }

  /** Records whether a promise is settled. */
  function watched<T>(promise: Promise<T>): { readonly settled: boolean; readonly outcome: Promise<T | Problem> } {
    const watch = { settled: false, outcome: promise.catch((error: Problem) => error) }
    void watch.outcome.then(() => {
      watch.settled = true
    })
    return watch
  }

  /** Whether the values of a task are being sent. */
  const isSending = async (url: string) =>
    (await sql(url, "select from pg_stat_activity where query like 'insert into pg_temp.propetl_pieces%'")).length > 0

  async function sending(url: string): Promise<void> {
    for (let tries = 0; tries < 500; tries++) if (await isSending(url)) return
    assert.fail('nothing is being sent')
  }

  test('sends a large task while both replicas make other changes, and create and revoke keys', async () => {
    const { url, link, slow, other } = await pair()
    await new Tenants(slow.store).set('acme', () => defaults)
    link.limit({ toTarget: bytesPerSecond })
    const upload = watched(slow.tasks.put(operator, 'large', 'large', large, anyVersion))
    await sending(url)
    for (const { store, tasks } of [slow, other]) {
      const keys = new Keys(store)
      for (let i = 0; i < 5; i++) {
        await tasks.put(operator, `t${i}`, `d${i}`, file('small'), anyVersion)
        const { key } = await keys.create('acme', { expires: null, description: null })
        await keys.revoke('acme', key.id)
      }
    }
    assert.equal(upload.settled, false)
    assert.equal(await upload.outcome, undefined)
    await until(() => other.tasks.digest(operator, 'large') === 'large', 'the other replica shows the task')
    assert.ok(large.equals(other.tasks.file(operator, 'large') ?? Buffer.alloc(0)))
    assert.equal(other.tasks.count, 6)
  })

  test('whose link dies during a large upload delays nobody, and reports that the upload was not made', async () => {
    const { url, link, slow, other } = await pair()
    link.loseAfter(600_000)
    const upload = watched(slow.tasks.put(operator, 'large', 'large', large, anyVersion))
    await sending(url)
    for (let i = 0; i < 10; i++) await other.tasks.put(operator, `t${i}`, `d${i}`, file('small'), anyVersion)
    link.cut()
    link.refuse = true
    const problem = (await upload.outcome) as Problem
    assert.equal(problem.code, 'storage_unavailable')
    assert.equal(other.tasks.digest(operator, 'large'), undefined)
  })

  test('sends one large task of an owner at a time, and other owners do not wait', async () => {
    const { url, link, slow } = await pair()
    await new Tenants(slow.store).set('acme', () => defaults)
    const acme = new Tenants(slow.store).get('acme')
    link.limit({ toTarget: 4 * bytesPerSecond })
    const uploads = [1, 2, 3].map((i) => watched(slow.tasks.put(operator, `l${i}`, `l${i}`, large, anyVersion)))
    await sending(url)
    const theirs = slow.tasks.put(acme, 'large', 'large', large, anyVersion)
    await theirs
    assert.ok(uploads.some(({ settled }) => !settled))
    for (const { outcome } of uploads) assert.equal(await outcome, undefined)
  })

  test('receives a revocation of another replica while a large task is in transit', async () => {
    const { link, slow, other } = await pair()
    await new Tenants(other.store).set('acme', () => defaults)
    const { key, text } = await new Keys(other.store).create('acme', { expires: null, description: null })
    const keys = new Keys(slow.store)
    await until(() => findKey(slow.store, text) !== undefined, 'the key is valid')
    link.limit({ toClient: bytesPerSecond / 2 })
    await other.tasks.put(operator, 'large', 'large', large, anyVersion)
    await new Keys(other.store).revoke('acme', key.id)
    await until(() => findKey(slow.store, text) === undefined, 'the key is revoked')
    assert.equal(slow.tasks.digest(operator, 'large'), undefined)
    // The replica can also create and revoke keys itself.
    for (let i = 0; i < 2; i++) {
      const made = await keys.create('acme', { expires: null, description: null })
      assert.ok(findKey(slow.store, made.text))
      await keys.revoke('acme', made.key.id)
      assert.equal(findKey(slow.store, made.text), undefined)
    }
    assert.equal(slow.tasks.digest(operator, 'large'), undefined)
    await until(() => slow.tasks.digest(operator, 'large') === 'large', 'the replica has the large task')
    assert.equal(findKey(slow.store, text), undefined)
  })

  test('ends a silent session of a replica that holds the lock of changes, and logs its name', async () => {
    const { url, other } = await pair()
    const stalled = new pg.Client({ connectionString: url, application_name: 'propetl/stalled' })
    const ended = new Promise((resolve) => stalled.on('error', resolve))
    await stalled.connect()
    await stalled.query(`begin; select pg_advisory_xact_lock(${0x70726f70})`)
    await other.tasks.put(operator, 'x', 'd', file('x'), anyVersion)
    assert.match(String(await ended), /terminating connection due to administrator command/)
    assert.match(
      other.log.join('\n'),
      /holds the lock of changes, and waited for its client: it was ended .*"propetl\/stalled"/,
    )
  })

  test('names another program that holds the lock of changes in the rejection', async () => {
    const { url, other } = await pair()
    const holder = new pg.Client({ connectionString: url, application_name: 'somebody' })
    await holder.connect()
    await holder.query(`select pg_advisory_lock(${0x70726f70})`)
    await assert.rejects(other.tasks.put(operator, 'x', 'd', file('x'), anyVersion), (problem: Problem) => {
      assert.equal(problem.code, 'storage_unavailable')
      assert.deepEqual(problem.details, { lock_holder: 'somebody' })
      return true
    })
    assert.equal(other.store.following.connected, true)
    await holder.end()
    await other.tasks.put(operator, 'x', 'd', file('x'), anyVersion)
  })
})
