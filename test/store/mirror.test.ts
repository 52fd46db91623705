// Mirrors of a real PostgreSQL database that is replaced or restored, and mirrors that are damaged, lost or out of disk
// space.

import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { copyFile, readFile, realpath, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { recordHash } from '../../src/store/digest.js'
import { Mirror } from '../../src/store/mirror.js'
import { operator } from '../../src/tenants/tenant.js'
import { temporaryDirectory } from '../material.js'
import { PostgresServer, sql, withoutPostgres } from '../postgres.js'
import { isRoot, smallDisk } from '../small-disk.js'
import { TcpProxy } from '../tcp-proxy.js'
import { anyVersion, closed, file, type Replica, replica, until } from './replica.js'

/** The value of `--accept-history` in the latest log line that has one. */
const historyToAccept = ({ log }: Replica): string | undefined =>
  log.map((line) => /"accept_history":"([^"]+)"/.exec(line)?.[1]).findLast((name) => name !== undefined)

const put = ({ tasks }: Replica, id: string, digest = id) => tasks.put(operator, id, digest, file(digest), anyVersion)
const ids = ({ tasks }: Replica) => tasks.list(operator, '', 1_000).map(({ id }) => id)

describe('the mirror of a database', { skip: withoutPostgres }, () => {
  let server: PostgresServer
  let databases = 0
  const newDatabase = async () => {
    const name = `m${++databases}`
    await sql(server.url(), `create database ${name}`)
    return { name, url: server.url(name) }
  }
  /** Ends all connections of a database and renames it. */
  const moveAway = (name: string) =>
    sql(
      server.url(),
      `alter database ${name} allow_connections false`,
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`,
      `alter database ${name} rename to ${name}_away`,
    )
  /** Removes the latest changes, as if an older backup was restored. */
  const restoreOlder = (url: string, changes: number) =>
    sql(
      url,
      'begin',
      `create temporary table lost on commit drop as select number from propetl_changes order by number desc limit ${changes}`,
      'delete from propetl_records where change in (select number from lost)',
      'delete from propetl_changes where number in (select number from lost)',
      'commit',
    )
  before(async () => {
    server = await PostgresServer.start()
  })

  test('does not follow an empty database in place of its own, keeps serving, and returns to its own', async () => {
    const { name, url } = await newDatabase()
    const a = await replica(url)
    for (const id of ['x', 'y', 'z']) await put(a, id)
    await moveAway(name)
    await sql(server.url(), `create database ${name}`)
    await until(() => a.store.following.state === 'other_history', 'the replica notices the other database')
    assert.deepEqual(ids(a), ['x', 'y', 'z'])
    await assert.rejects(put(a, 'new'), {
      code: 'storage_unavailable',
      message: /the database is not the one that this replica has a copy of.*the change was not made/,
    })
    assert.match(a.log.join('\n'), /the database is not followed: .*--accept-history.*it is another database/)
    // A restart does not change that.
    const again = await replica(url, { directory: await closed(a) })
    await until(() => again.store.following.state === 'other_history', 'the replica notices the other database again')
    assert.deepEqual(ids(again), ['x', 'y', 'z'])
    // The right database is back. The replica follows it without an operator.
    await sql(
      server.url(),
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`,
      `drop database ${name} with (force)`,
      `alter database ${name}_away rename to ${name}`,
      `alter database ${name} allow_connections true`,
    )
    await until(() => again.store.following.state === 'following', 'the replica follows its own database')
    await put(again, 'new')
    assert.deepEqual(ids(again), ['new', 'x', 'y', 'z'])
    assert.equal(again.store.following.mirror.copies, 0)
  })

  test('follows another database once an operator accepts its history, but not a third one', async () => {
    const [first, second, third] = [await newDatabase(), await newDatabase(), await newDatabase()]
    const a = await replica(first.url)
    await put(a, 'x')
    const b = await replica(second.url)
    await put(b, 'y')
    const rejecting = await replica(second.url, { directory: await closed(a) })
    await until(() => historyToAccept(rejecting) !== undefined, 'the log names the history to accept')
    const acceptHistory = historyToAccept(rejecting)
    await put(b, 'later')
    const accepting = await replica(second.url, { directory: await closed(rejecting), acceptHistory })
    await until(() => accepting.store.following.connected, 'the replica follows the accepted database')
    assert.deepEqual(ids(accepting), ['later', 'y'])
    const elsewhere = await replica(third.url, { directory: await closed(accepting), acceptHistory })
    await until(() => elsewhere.store.following.state === 'other_history', 'the replica rejects a third database')
    assert.deepEqual(ids(elsewhere), ['later', 'y'])
  })

  test('follows a database that lost its last changes in a failover, and all replicas agree', async () => {
    const { url } = await newDatabase()
    const [a, b] = [await replica(url), await replica(url)]
    await put(a, 'kept')
    for (const id of ['l1', 'l2', 'l3']) await put(a, id)
    await until(() => ids(b).length === 4, 'b follows')
    await restoreOlder(url, 3)
    await sql(url, 'insert into propetl_changes (number) select max(number) + 1 from propetl_changes')
    for (const each of [a, b]) {
      await until(() => ids(each).length === 1, 'the replica has the state of the database')
      assert.match(
        each.log.join('\n'),
        /making a full copy .*the database lost the changes after \d+, probably by a failover/,
      )
    }
    await until(() => a.store.following.connected, 'changes are accepted')
    await put(a, 'next')
    await until(() => ids(b).includes('next'), 'b follows the next change')
  })

  test('follows a database that lost more than a failover loses only if an operator accepts it, and only once', async () => {
    const { url } = await newDatabase()
    const hour = "update propetl_changes set made_at = now() - interval '1 hour'"
    const writer = await replica(url)
    for (const id of ['kept', 'lost']) await put(writer, id)
    await closed(writer)
    await sql(url, hour)
    const rejecting = await replica(url)
    await closed(rejecting)
    await restoreOlder(url, 1)
    const again = await replica(url, { directory: rejecting.directory })
    await until(() => again.store.following.state === 'other_history', 'the replica notices the older state')
    assert.deepEqual(ids(again), ['kept', 'lost'])
    assert.match(again.log.join('\n'), /it was restored to change \d+/)
    const acceptHistory = historyToAccept(again)
    const accepting = await replica(url, { directory: await closed(again), acceptHistory })
    await until(() => accepting.store.following.connected, 'the replica follows the accepted history')
    assert.deepEqual(ids(accepting), ['kept'])
    // The setting stays, and another old backup is restored.
    await put(accepting, 'later')
    await sql(url, hour)
    await rm(join(accepting.directory, 'mirror.lmdb'))
    await until(() => accepting.store.following.mirror.copies === 2, 'the mirror knows the age of the change')
    await closed(accepting)
    await restoreOlder(url, 1)
    const twice = await replica(url, { directory: accepting.directory, acceptHistory })
    await until(() => twice.store.following.state === 'other_history', 'the replica rejects the second backup')
    assert.deepEqual(ids(twice), ['kept', 'later'])
  })

  describe('that is damaged', () => {
    let url: string
    let intact: string
    before(async () => {
      url = (await newDatabase()).url
      const a = await replica(url)
      for (let i = 0; i < 120; i++) await a.tasks.put(operator, `t${i}`, `d${i}`, Buffer.alloc(3_000, i), anyVersion)
      intact = await realpath(join(await closed(a), 'mirror.lmdb'))
    })
    const mirrorOf = async (damage: (path: string) => Promise<unknown>) => {
      const directory = await temporaryDirectory()
      const path = join(directory, 'mirror.lmdb')
      await copyFile(intact, path)
      await damage(path)
      return directory
    }
    /** Flips bits in pages of the index. The seed selects them. */
    const flipped = (seed: number) => async (path: string) => {
      const bytes = await readFile(path)
      let state = seed
      const random = (below: number) => {
        state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
        return Math.floor((state / 2 ** 32) * below)
      }
      const index = Array.from({ length: bytes.length / 4096 - 2 }, (_, page) => (page + 2) * 4096).filter((page) =>
        [1, 2].includes(bytes.readUInt16LE(page + 18)),
      )
      for (let i = 0; i < 8; i++) {
        const at = (index[random(index.length)] ?? 0) + 18 + random(60)
        bytes[at] = (bytes[at] ?? 0) ^ (1 << random(8))
      }
      await writeFile(path, bytes)
    }
    /** Changes one byte of a value. lmdb does not notice that. */
    const wrongByte = async (path: string) => {
      const bytes = await readFile(path)
      const at = bytes.indexOf(Buffer.alloc(2_000, 77))
      assert.ok(at > 0)
      bytes[at + 1_000] = 0
      await writeFile(path, bytes)
    }
    const damages: Record<string, (path: string) => Promise<unknown>> = {
      'is garbage': (path) => writeFile(path, Buffer.alloc(300_000, 'garbage ')),
      'lost its end': (path) => truncate(path, 200_000),
      'is empty': (path) => truncate(path, 0),
      'has a wrong byte in a value': wrongByte,
      ...Object.fromEntries([1, 2, 3, 4].map((seed) => [`has flipped bits (${seed})`, flipped(seed)])),
    }
    for (const [what, damage] of Object.entries(damages))
      test(`because it ${what} is not read, and is rebuilt from the database`, async () => {
        const directory = await mirrorOf(damage)
        const again = await replica(url, { directory })
        assert.equal(again.tasks.count, 120)
        for (let i = 0; i < 120; i++) assert.equal(again.tasks.file(operator, `t${i}`)?.[1_000], i)
        assert.equal(again.store.following.mirror.copies, 1)
        assert.match(again.log.join('\n'), /the mirror of the database is damaged: it is not read until/)
      })

    test('is not served while the database is unreachable', async () => {
      const directory = await mirrorOf(wrongByte)
      const mirror = await Mirror.open(directory, { info() {}, warn() {} } as never)
      assert.equal(mirror.readable, false)
      assert.throws(() => mirror.count('versions'), { code: 'storage_unavailable' })
      // The file was left unchanged, and its history can still be read.
      assert.ok((mirror.history?.position.number ?? 0) >= 120)
      await mirror.close()
    })

    test('by truncation while it is in use is noticed before the missing part is read', async () => {
      const a = await replica(url)
      await until(() => a.store.following.connected, 'the replica follows the database')
      await delay(1_100)
      await truncate(join(a.directory, 'mirror.lmdb'), 100_000)
      await until(() => a.store.following.mirror.copies === 2, 'the mirror is rebuilt')
      assert.equal(a.tasks.count, 120)
    })

    test('by a record that differs from the database is found by a comparison, and rebuilt', async () => {
      const a = await replica(url)
      await sql(url, "update propetl_records set value = 'other' where table_name = 'versions' and key = 't77'")
      const again = await replica(url, { directory: await closed(a) })
      await until(() => again.tasks.digest(operator, 't77') === 'other', 'the mirror has the record of the database')
      assert.match(again.log.join('\n'), /may be wrong.*the record \\"t77\\" of versions differs from the database/)
      await sql(url, "update propetl_records set value = 'd77' where table_name = 'versions' and key = 't77'")
    })
  })

  test('whose directory is removed or whose file is replaced keeps serving and is rebuilt', async () => {
    const { url } = await newDatabase()
    const a = await replica(url)
    await put(a, 'x')
    const away = `${a.directory}-away`
    await rename(a.directory, away)
    assert.deepEqual(ids(a), ['x'])
    await until(() => a.store.following.mirror.copies === 2 && a.store.following.connected, 'the mirror is rebuilt')
    await put(a, 'y')
    assert.deepEqual(ids(a), ['x', 'y'])
    await rm(join(a.directory, 'mirror.lmdb'))
    await writeFile(join(a.directory, 'mirror.lmdb'), 'no mirror')
    await until(() => a.store.following.mirror.copies === 3, 'the mirror is rebuilt again')
    const again = await replica(url, { directory: await closed(a) })
    assert.deepEqual(ids(again), ['x', 'y'])
    assert.equal(again.store.following.mirror.copies, 0)
  })

  test('of an earlier version is read, and rebuilt with a digest', async () => {
    const { url } = await newDatabase()
    const a = await replica(url)
    await put(a, 'x')
    const path = await realpath(join(await closed(a), 'mirror.lmdb'))
    const { open } = await import('lmdb')
    const written = open({ path, maxDbs: 32 })
    const state = written.openDB<Buffer, string>({ name: 'state', encoding: 'binary' })
    const { side, position, tables } = JSON.parse(String(state.get('current'))) as Record<string, unknown>
    await state.put('current', Buffer.from(JSON.stringify({ side, position, tables })))
    await written.close()
    const directory = await temporaryDirectory()
    await copyFile(path, join(directory, 'mirror.lmdb'))
    const again = await replica(url, { directory })
    assert.deepEqual(ids(again), ['x'])
    await until(() => again.store.following.mirror.copies === 1, 'the mirror is rebuilt')
    assert.match(again.log.join('\n'), /an earlier version made the mirror/)
  })

  test('on a full disk: changes are made, acknowledged and shown, and written once there is space', {
    skip: !isRoot && 'only root may mount a small disk',
  }, async () => {
    const { url } = await newDatabase()
    const disk = await smallDisk()
    const [full, other] = [await replica(url, { directory: disk.directory }), await replica(url)]
    for (let i = 0; i < 20; i++)
      await other.tasks.put(operator, `big-${i}`, `b${i}`, Buffer.alloc(100_000, i), anyVersion)
    await until(() => full.store.following.mirror.unwrittenBytes > 0, 'its disk is full')
    // Other processes would miss the changes.
    assert.equal(full.store.sharedFile, undefined)
    assert.match(
      full.log.join('\n'),
      /the mirror cannot be written; changes stay in memory .*no space left on device \(ENOSPC\)/,
    )
    assert.equal(await full.tasks.put(operator, 'own', 'd1', file('one'), anyVersion), undefined)
    assert.equal(String(full.tasks.file(operator, 'own')), 'one')
    await until(() => other.tasks.digest(operator, 'own') === 'd1', 'the other replica shows the change')
    await until(() => full.tasks.count === 21, 'the replica with the full disk shows the changes of the other')
    assert.equal(full.store.following.connected, true)
    disk.makeRoom(undefined)
    await until(() => full.store.following.mirror.unwrittenBytes === 0, 'the changes are written')
    assert.notEqual(full.store.sharedFile, undefined)
    const again = await replica(url, { directory: await closed(full) })
    assert.equal(again.tasks.count, 21)
    assert.equal(String(again.tasks.file(operator, 'own')), 'one')
    assert.equal(again.store.following.mirror.copies, 0)
  })

  test('without disk space for a full copy is copied once there is space, without further attempts before', {
    skip: !isRoot && 'only root may mount a small disk',
  }, async () => {
    const { url } = await newDatabase()
    const other = await replica(url)
    for (let i = 0; i < 15; i++)
      await other.tasks.put(operator, `big-${i}`, `b${i}`, Buffer.alloc(100_000, i), anyVersion)
    const disk = await smallDisk()
    const waiting = replica(url, { directory: disk.directory })
    await delay(2_500)
    disk.makeRoom(undefined)
    const { tasks, log } = await waiting
    assert.equal(tasks.count, 15)
    assert.equal(log.filter((line) => /cannot be written.*no space left on device \(ENOSPC\)/.test(line)).length, 1)
    assert.equal(log.filter((line) => line.startsWith('making a full copy')).length, 1)
  })

  test('an interrupted full copy starts again, and nothing of the first part is read', async () => {
    const { url } = await newDatabase()
    const other = await replica(url)
    for (let i = 0; i < 8; i++)
      await other.tasks.put(operator, `t${i}`, `d${i}`, Buffer.alloc(2_000_000, i), anyVersion)
    const proxy = await TcpProxy.start(server.port)
    after(() => proxy.close())
    const directory = await temporaryDirectory()
    const waiting = replica(url.replace(`:${server.port}/`, `:${proxy.port}/`), { directory })
    await until(
      () => (statSync(join(directory, 'mirror.a.lmdb'), { throwIfNoEntry: false })?.size ?? 0) > 2_000_000,
      'a part is copied',
    )
    proxy.cut()
    const { tasks, log } = await waiting
    assert.equal(tasks.count, 8)
    for (let i = 0; i < 8; i++) assert.equal(tasks.file(operator, `t${i}`)?.at(-1), i)
    assert.equal(log.filter((line) => line.startsWith('making a full copy')).length, 2)
    assert.equal(log.filter((line) => line.startsWith('the full copy of the database is complete')).length, 1)
  })

  test('at most two replicas make full copies at the same time', async () => {
    const { url } = await newDatabase()
    await put(await replica(url), 'x')
    const places = [0, 1].map((place) => `select pg_advisory_xact_lock(1886547824, ${place})`)
    let free = () => {}
    const taken = new Promise<void>((resolve) => {
      free = resolve
    })
    const { default: pg } = await import('pg')
    const holder = new pg.Client({ connectionString: url })
    await holder.connect()
    for (const statement of ['begin', ...places]) await holder.query(statement)
    const waiting = replica(url)
    void waiting.then(() => free())
    assert.equal(await Promise.race([taken.then(() => 'copied'), delay(1_500).then(() => 'waits')]), 'waits')
    await holder.query('commit')
    await holder.end()
    assert.deepEqual(ids(await waiting), ['x'])
  })

  test('hashes a record like the database', async () => {
    const { url } = await newDatabase()
    const [row] = await sql(
      url,
      `select encode(substring(sha256(convert_to('files', 'UTF8') || '\\x00' || convert_to('~ä/x', 'UTF8') || '\\x00' || '\\x00ff41') from 1 for 6), 'hex') as hash`,
    )
    assert.equal(recordHash('files', '~ä/x', Buffer.from('00ff41', 'hex')).toString(16).padStart(12, '0'), row?.hash)
  })
})
