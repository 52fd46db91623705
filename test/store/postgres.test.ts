// Stores of several replicas on a real PostgreSQL database: conflicts, lost connections, full copies and settings.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../src/problem.js'
import type { Store } from '../../src/store/store.js'
import { operator } from '../../src/tenants/tenant.js'
import { root } from '../material.js'
import { PostgresServer, sql, withoutPostgres } from '../postgres.js'
import { TcpProxy } from '../tcp-proxy.js'
import { anyVersion, closed, file, replica, until } from './replica.js'

const contents = (store: Store) =>
  (['versions', 'files'] as const).map((table) => Array.from(store.range(table), ([key, value]) => [key, `${value}`]))

describe('the store of several replicas', { skip: withoutPostgres }, () => {
  let server: PostgresServer
  let databases = 0
  /** Creates a database. @returns its URL */
  const newDatabase = async () => {
    const name = `d${++databases}`
    await sql(server.url(), `create database ${name}`)
    return server.url(name)
  }
  before(async () => {
    server = await PostgresServer.start()
  })

  test('two replicas that start at once create one schema, and each shows what the other changes', async () => {
    const url = await newDatabase()
    const [a, b] = await Promise.all([replica(url), replica(url)])
    await a.tasks.put(operator, 'x', 'd1', file('one'), anyVersion)
    assert.equal(a.tasks.digest(operator, 'x'), 'd1')
    await until(() => b.tasks.digest(operator, 'x') === 'd1', 'b shows what a put')
    await b.tasks.put(operator, 'x', 'd2', file('two'), anyVersion)
    assert.equal(String(b.tasks.file(operator, 'x')), 'two')
    await until(() => a.tasks.digest(operator, 'x') === 'd2', 'a shows what b replaced')
    assert.equal(String(a.tasks.file(operator, 'x')), 'two')
    await a.tasks.delete(operator, 'x', anyVersion)
    await until(() => b.tasks.digest(operator, 'x') === undefined, 'b shows what a removed')
    assert.deepEqual([a.tasks.count, b.tasks.count], [0, 0])
  })

  test('one of two changes on different replicas that expect the same version succeeds', async () => {
    const url = await newDatabase()
    const [a, b] = await Promise.all([replica(url), replica(url)])
    await a.tasks.put(operator, 'x', 'v0', file('0'), anyVersion)
    for (let round = 0; round < 20; round++) {
      const expected = a.tasks.digest(operator, 'x')
      const expecting = (current: string | undefined) => {
        if (current !== expected) throw new Problem('precondition_failed', `${current}`)
      }
      await until(() => b.tasks.digest(operator, 'x') === expected, 'b has the version of a')
      const outcomes = await Promise.allSettled([
        a.tasks.put(operator, 'x', `a${round}`, file(`a${round}`), expecting),
        b.tasks.put(operator, 'x', `b${round}`, file(`b${round}`), expecting),
      ])
      assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
      const winner = outcomes[0]?.status === 'fulfilled' ? `a${round}` : `b${round}`
      await until(
        () => a.tasks.digest(operator, 'x') === winner && b.tasks.digest(operator, 'x') === winner,
        'both show the winner',
      )
    }
  })

  test('many changes of several replicas all reach every mirror, and every mirror equals the database', async () => {
    const url = await newDatabase()
    const replicas = await Promise.all([replica(url), replica(url), replica(url)])
    await Promise.all(
      replicas.flatMap(({ tasks }, r) =>
        Array.from({ length: 100 }, async (_, i) => {
          await tasks.put(operator, `t-${i % 40}`, `${r}-${i}`, file(`${r}-${i}`), anyVersion)
          if (i % 10 === 9) await tasks.delete(operator, `t-${i % 40}`, anyVersion).catch(() => {})
        }),
      ),
    )
    const rows = await sql(
      url,
      "select table_name, convert_from(key, 'UTF8') as key, convert_from(value, 'UTF8') as value from propetl_records where value is not null order by table_name desc, key",
    )
    const truth = ['versions', 'files'].map((table) =>
      rows.filter((row) => row.table_name === table).map(({ key, value }) => [key, value]),
    )
    assert.ok((truth[0]?.length ?? 0) > 20)
    for (const { store } of replicas)
      await until(() => JSON.stringify(contents(store)) === JSON.stringify(truth), 'a mirror equals the database')
  })

  test('a change reads its own writes and those of earlier changes in the same transaction', async () => {
    const { store } = await replica(await newDatabase())
    await store.change((records) => {
      for (const key of ['b', 'd', 'ä', '\u{1f600}']) records.put('versions', key, file(key))
    })
    const seen = await store.change((records) => {
      records.put('versions', 'c', file('new'))
      records.remove('versions', 'b')
      records.put('versions', 'd', file('changed'))
      records.remove('versions', 'not there')
      return {
        keys: Array.from(records.range('versions'), ([key, value]) => `${key}=${value}`),
        page: Array.from(records.range('versions', { after: 'b', before: 'ä', limit: 1 }), ([key]) => key),
        count: records.count('versions'),
        removed: records.get('versions', 'b'),
      }
    })
    assert.deepEqual(seen, {
      keys: ['c=new', 'd=changed', 'ä=ä', '\u{1f600}=\u{1f600}'],
      page: ['c'],
      count: 4,
      removed: undefined,
    })
    assert.deepEqual(
      Array.from(store.range('versions'), ([key]) => key),
      ['c', 'd', 'ä', '\u{1f600}'],
    )
  })

  test('reads from the mirror while the server is stopped, rejects changes, and reconnects by itself', async () => {
    const url = await newDatabase()
    const [a, b] = await Promise.all([replica(url), replica(url)])
    await a.tasks.put(operator, 'x', 'd1', file('one'), anyVersion)
    await until(() => b.tasks.digest(operator, 'x') === 'd1', 'b follows')
    await server.stop()
    await until(() => !a.store.following.connected, 'a notices that the server is gone')
    await assert.rejects(a.tasks.put(operator, 'x', 'd2', file('two'), anyVersion), {
      code: 'storage_unavailable',
      message: /cannot be used now; the change was not made/,
    })
    assert.equal(String(a.tasks.file(operator, 'x')), 'one')
    // A replica that restarts in the meantime serves its mirror.
    const again = await replica(url, { directory: await closed(b) })
    assert.equal(String(again.tasks.file(operator, 'x')), 'one')
    await server.start()
    await until(() => a.store.following.connected && again.store.following.connected, 'both replicas are connected')
    await a.tasks.put(operator, 'x', 'd3', file('three'), anyVersion)
    await until(() => again.tasks.digest(operator, 'x') === 'd3', 'the other replica follows again')
  })

  test('a network that drops everything is noticed, and changes fail instead of hanging', async () => {
    const proxy = await TcpProxy.start(server.port)
    after(() => proxy.close())
    const url = await newDatabase()
    const { store, tasks, log } = await replica(url.replace(`:${server.port}/`, `:${proxy.port}/`))
    await tasks.put(operator, 'x', 'd1', file('one'), anyVersion)
    proxy.blackHole = true
    // The change was in transit, and its outcome is unknown.
    await assert.rejects(tasks.put(operator, 'x', 'd2', file('two'), anyVersion), { code: 'outcome_unknown' })
    await assert.rejects(tasks.put(operator, 'x', 'd2', file('two'), anyVersion), { code: 'storage_unavailable' })
    assert.equal(tasks.digest(operator, 'x'), 'd1')
    // Other replicas do not wait for this one.
    const other = await replica(url)
    await other.tasks.put(operator, 'y', 'd3', file('three'), anyVersion)
    proxy.blackHole = false
    proxy.cut()
    await until(() => store.following.connected, 'the replica is connected again')
    await until(() => tasks.digest(operator, 'y') === 'd3', 'the replica follows the change of the other')
    assert.match(log.join('\n'), /the database cannot be followed; this replica serves its mirror/)
  })

  test('if the connection is lost during a change, the outcome is reported correctly and the mirror shows it', async () => {
    const proxy = await TcpProxy.start(server.port)
    after(() => proxy.close())
    const url = await newDatabase()
    const { store, tasks } = await replica(url.replace(`:${server.port}/`, `:${proxy.port}/`))
    const direct = await replica(url)
    for (let round = 0; round < 8; round++) {
      const change = tasks.put(operator, 'x', `d${round}`, file(`${round}`), anyVersion)
      await delay(round)
      proxy.cut()
      const outcome = await change.then(
        () => 'made',
        ({ code }: Problem) => code,
      )
      await until(() => store.following.connected, 'the replica is connected again')
      await direct.tasks.put(operator, 'barrier', `${round}`, file(''), anyVersion)
      await until(() => tasks.digest(operator, 'barrier') === `${round}`, 'the replica follows the barrier')
      const [row] = await sql(
        url,
        "select convert_from(value, 'UTF8') as digest from propetl_records where table_name = 'versions' and key = 'x'",
      )
      assert.equal(tasks.digest(operator, 'x'), row?.digest)
      if (outcome === 'made') assert.equal(row?.digest, `d${round}`)
      else {
        assert.equal(outcome, 'storage_unavailable')
        assert.notEqual(row?.digest, `d${round}`)
      }
    }
  })

  test('a replica that is far behind makes a full copy in pages, without removed records', async () => {
    const url = await newDatabase()
    const a = await replica(url)
    const big = Buffer.alloc(3 * 1024 * 1024, 'x')
    for (let i = 0; i < 4; i++) await a.tasks.put(operator, `big-${i}`, `b${i}`, big, anyVersion)
    const directory = await closed(a)
    // 2,500 more changes, of which the database has deleted the oldest.
    await sql(
      url,
      `insert into propetl_changes (number) select number from generate_series(6, 2505) as number`,
      `insert into propetl_records select 'versions', convert_to('t' || n, 'UTF8'), convert_to('v' || n, 'UTF8'), n + 5 from generate_series(1, 2500) as n`,
      "update propetl_records set value = null, change = 2505 where convert_from(key, 'UTF8') like 'big-3%'",
      'delete from propetl_changes where number < 100',
    )
    for (const each of [await replica(url, { directory }), await replica(url)]) {
      assert.equal(each.tasks.count, 2503)
      assert.equal(each.tasks.digest(operator, 't2500'), 'v2500')
      assert.equal(each.tasks.digest(operator, 'big-3'), undefined)
      assert.ok(each.tasks.file(operator, 'big-2') && big.equals(each.tasks.file(operator, 'big-2') ?? big.subarray(1)))
      assert.equal(each.tasks.file(operator, 'big-3'), undefined)
      assert.ok(each.log.some((line) => line.startsWith('the full copy of the database is complete {"copied":2510}')))
    }
  })

  test('removed records and old changes are eventually deleted', async () => {
    const url = await newDatabase()
    const { tasks } = await replica(url)
    await tasks.put(operator, 'x', 'd1', file('one'), anyVersion)
    await tasks.delete(operator, 'x', anyVersion)
    await sql(url, 'insert into propetl_changes (number) select generate_series(4, 110999)')
    await tasks.put(operator, 'y', 'd2', file('two'), anyVersion)
    let left: unknown
    for (let tries = 0; tries < 500 && !isDeepStrictEqual(left, { oldest: '11001', removed: '0' }); tries++)
      [left] = await sql(
        url,
        'select (select min(number) from propetl_changes where number > 0) as oldest, (select count(*) from propetl_records where value is null) as removed',
      )
    assert.deepEqual(left, { oldest: '11001', removed: '0' })
  })

  test('processes can share a mirror', async () => {
    const url = await newDatabase()
    const a = await replica(url)
    const b = await replica(url, { directory: a.directory })
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        [a, b][i % 2]?.tasks.put(operator, `t${i}`, `d${i}`, file(`${i}`), anyVersion),
      ),
    )
    for (const { tasks } of [a, b])
      await until(() => tasks.count === 50 && tasks.digest(operator, 't7') === 'd7', 'every task is there')
  })

  test('waits for an unreachable database until it is stopped', async () => {
    await server.stop()
    const stop = new AbortController()
    const waiting = replica(server.url(), { signal: stop.signal })
    await delay(300)
    stop.abort()
    await assert.rejects(waiting, { code: 'shutting_down' })
    const patient = replica(server.url())
    await delay(300)
    await server.start()
    assert.equal((await patient).tasks.count, 0)
  })

  test('does not start with a database that it may not use, or that has the schema of a later version', async () => {
    await assert.rejects(replica(server.url('nowhere')), {
      code: 'invalid_setting',
      message: /the database cannot be used: database "nowhere" does not exist/,
    })
    const url = await newDatabase()
    await closed(await replica(url))
    await sql(url, 'update propetl_schema set version = 99')
    await assert.rejects(replica(url), {
      code: 'invalid_setting',
      message: /schema 99, and this version of propetl supports schema 1; run/,
    })
    await sql(server.url(), 'create role guest login')
    const guest = (await newDatabase()).replace('propetl@', 'guest@')
    await assert.rejects(replica(guest), { code: 'invalid_setting', message: /permission denied for schema public/ })
  })

  test('does not start with a wrong password, certificate or sslmode, and says which it is', async () => {
    const secured = await PostgresServer.start()
    const assertRejected = (url: string, message: RegExp) =>
      assert.rejects(replica(url), { code: 'invalid_setting', message })
    await assertRejected(
      `${secured.url()}?sslmode=verify-full`,
      /cannot be used: The server does not support SSL connections/,
    )
    await assertRejected(
      `${secured.url()}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem`,
      /ENOENT.*\/nowhere\/ca\.pem/,
    )
    for (const name of ['cert', 'key'])
      secured.putFile(`${name}.pem`, readFileSync(join(root, 'test/fixtures/tls', `first.${name}.pem`)))
    secured.putFile(
      'pg_hba.conf',
      'hostssl all guest all scram-sha-256\nhostssl all locked all reject\nhost all propetl all trust\n',
    )
    await sql(
      secured.url(),
      "alter system set ssl_cert_file = 'cert.pem'",
      "alter system set ssl_key_file = 'key.pem'",
      'alter system set ssl = on',
      "create role guest login password 'right'",
      'create role locked login',
      'select pg_reload_conf()',
    )
    const as = (user: string, sslmode: string) => `${secured.url().replace('propetl@', `${user}@`)}?sslmode=${sslmode}`
    await until(() => secured.hasLogged('reloading configuration files'), 'the server has read its settings')
    await assertRejected(as('propetl', 'verify-full'), /cannot be used: self-signed certificate/)
    await assertRejected(as('guest:wrong', 'no-verify'), /password authentication failed for user "guest"/)
    await assertRejected(as('guest', 'no-verify'), /client password must be a string/)
    await assertRejected(as('guest:right', 'disable'), /no pg_hba\.conf entry .* no encryption/)
    await assertRejected(as('locked', 'no-verify'), /pg_hba\.conf rejects connection/)
  })

  test('logs what the database rejects, and continues', async () => {
    const url = await newDatabase()
    const { store, tasks, log } = await replica(url)
    await sql(url, "alter table propetl_records add constraint no_x check (key <> 'x')")
    await assert.rejects(tasks.put(operator, 'x', 'd1', file('one'), anyVersion), { code: 'storage_failed' })
    assert.match(log.join('\n'), /changes were rejected .*no_x/)
    assert.equal(store.following.connected, true)
    await tasks.put(operator, 'y', 'd2', file('two'), anyVersion)
    await sql(url, `alter database ${url.split('/').at(-1)} set default_transaction_read_only = on`)
    await sql(
      url,
      'select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()',
    )
    await until(() => !store.following.connected, 'the replica accepts no changes')
    await assert.rejects(tasks.put(operator, 'y', 'd3', file('three'), anyVersion), { code: 'storage_unavailable' })
    assert.match(log.join('\n'), /the server is read-only/)
    assert.equal(tasks.digest(operator, 'y'), 'd2')
  })
})
