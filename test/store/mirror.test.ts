// Mirrors of a real PostgreSQL database that is replaced or put back, and mirrors that are damaged, lost or out of room.

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
import { any, closed, file, type Replica, replica, until } from './replica.js'

/** The value of `--accept-history` that a replica's log names last. */
const named = ({ log }: Replica): string | undefined =>
  log.map((line) => /"accept_history":"([^"]+)"/.exec(line)?.[1]).findLast((name) => name !== undefined)

const put = ({ tasks }: Replica, id: string, digest = id) => tasks.put(operator, id, digest, file(digest), any)
const ids = ({ tasks }: Replica) => tasks.list(operator, '', 1_000).map(({ id }) => id)

describe('the mirror of a database', { skip: withoutPostgres }, () => {
  let server: PostgresServer
  let databases = 0
  const newDatabase = async () => {
    const name = `m${++databases}`
    await sql(server.url(), `create database ${name}`)
    return { name, url: server.url(name) }
  }
  /** Ends all connections of a database and gives it another name. */
  const moveAway = (name: string) =>
    sql(
      server.url(),
      `alter database ${name} allow_connections false`,
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`,
      `alter database ${name} rename to ${name}_away`,
    )
  /** As a backup from before the last changes would leave the tables, by the age of these. */
  const putBack = (url: string, changes: number) =>
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

  test('does not follow an empty database in place of its own, serves on, and comes back to its own', async () => {
    const { name, url } = await newDatabase()
    const a = await replica(url)
    for (const id of ['x', 'y', 'z']) await put(a, id)
    await moveAway(name)
    await sql(server.url(), `create database ${name}`)
    await until(() => a.store.following.state === 'other_history', 'it notices')
    assert.deepEqual(ids(a), ['x', 'y', 'z'])
    await assert.rejects(put(a, 'new'), {
      code: 'storage_unavailable',
      message: /the database is not the one that this replica has a copy of.*the change was not made/,
    })
    assert.match(a.log.join('\n'), /the database is not followed: .*--accept-history.*it is another database/)
    // Nor after a restart.
    const again = await replica(url, { directory: await closed(a) })
    await until(() => again.store.following.state === 'other_history', 'it notices again')
    assert.deepEqual(ids(again), ['x', 'y', 'z'])
    // The right database is back, and nobody has to do anything.
    await sql(
      server.url(),
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`,
      `drop database ${name} with (force)`,
      `alter database ${name}_away rename to ${name}`,
      `alter database ${name} allow_connections true`,
    )
    await until(() => again.store.following.state === 'following', 'it follows its own database')
    await put(again, 'new')
    assert.deepEqual(ids(again), ['new', 'x', 'y', 'z'])
    assert.equal(again.store.following.mirror.copies, 0)
  })

  test('follows another database once an operator accepts it, and that counts for this one only', async () => {
    const [first, second, third] = [await newDatabase(), await newDatabase(), await newDatabase()]
    const a = await replica(first.url)
    await put(a, 'x')
    const b = await replica(second.url)
    await put(b, 'y')
    const refusing = await replica(second.url, { directory: await closed(a) })
    await until(() => named(refusing) !== undefined, 'the log names what to accept')
    const acceptHistory = named(refusing)
    await put(b, 'later')
    const accepting = await replica(second.url, { directory: await closed(refusing), acceptHistory })
    await until(() => accepting.store.following.connected, 'it follows')
    assert.deepEqual(ids(accepting), ['later', 'y'])
    const elsewhere = await replica(third.url, { directory: await closed(accepting), acceptHistory })
    await until(() => elsewhere.store.following.state === 'other_history', 'it does not follow a third one')
    assert.deepEqual(ids(elsewhere), ['later', 'y'])
  })

  test('follows a database that lost its last changes, as a failover does, and all replicas agree', async () => {
    const { url } = await newDatabase()
    const [a, b] = [await replica(url), await replica(url)]
    await put(a, 'kept')
    for (const id of ['l1', 'l2', 'l3']) await put(a, id)
    await until(() => ids(b).length === 4, 'b follows')
    await putBack(url, 3)
    await sql(url, 'insert into propetl_changes (number) select max(number) + 1 from propetl_changes')
    for (const each of [a, b]) {
      await until(() => ids(each).length === 1, 'it shows what the database has')
      assert.match(
        each.log.join('\n'),
        /making a full copy .*the database lost the changes after \d+, probably by a failover/,
      )
    }
    await until(() => a.store.following.connected, 'changes are taken')
    await put(a, 'next')
    await until(() => ids(b).includes('next'), 'b follows on')
  })

  test('does not follow a database that was put back by more than a failover loses, unless told to, once', async () => {
    const { url } = await newDatabase()
    const hour = "update propetl_changes set made_at = now() - interval '1 hour'"
    const writer = await replica(url)
    for (const id of ['kept', 'lost']) await put(writer, id)
    await closed(writer)
    await sql(url, hour)
    const refusing = await replica(url)
    await closed(refusing)
    await putBack(url, 1)
    const again = await replica(url, { directory: refusing.directory })
    await until(() => again.store.following.state === 'other_history', 'it notices')
    assert.deepEqual(ids(again), ['kept', 'lost'])
    assert.match(again.log.join('\n'), /it was restored to change \d+/)
    const acceptHistory = named(again)
    const accepting = await replica(url, { directory: await closed(again), acceptHistory })
    await until(() => accepting.store.following.connected, 'it follows')
    assert.deepEqual(ids(accepting), ['kept'])
    // The setting stays, and another such backup is restored.
    await put(accepting, 'later')
    await sql(url, hour)
    await rm(join(accepting.directory, 'mirror.lmdb'))
    await until(() => accepting.store.following.mirror.copies === 2, 'the mirror knows the age of the change')
    await closed(accepting)
    await putBack(url, 1)
    const twice = await replica(url, { directory: accepting.directory, acceptHistory })
    await until(() => twice.store.following.state === 'other_history', 'it was not told so about this')
    assert.deepEqual(ids(twice), ['kept', 'later'])
  })

  describe('that is damaged', () => {
    let url: string
    let sound: string
    before(async () => {
      url = (await newDatabase()).url
      const a = await replica(url)
      for (let i = 0; i < 120; i++) await a.tasks.put(operator, `t${i}`, `d${i}`, Buffer.alloc(3_000, i), any)
      sound = await realpath(join(await closed(a), 'mirror.lmdb'))
    })
    const mirrorOf = async (damage: (path: string) => Promise<unknown>) => {
      const directory = await temporaryDirectory()
      const path = join(directory, 'mirror.lmdb')
      await copyFile(sound, path)
      await damage(path)
      return directory
    }
    /** Changes bits of pages of the index, as a seed says. */
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
    /** Changes one byte of a value, which lmdb does not notice. */
    const falsified = async (path: string) => {
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
      'has another byte in a value': falsified,
      ...Object.fromEntries([1, 2, 3, 4].map((seed) => [`has flipped bits (${seed})`, flipped(seed)])),
    }
    for (const [what, damage] of Object.entries(damages))
      test(`because it ${what} is never read, and made anew from the database`, async () => {
        const directory = await mirrorOf(damage)
        const again = await replica(url, { directory })
        assert.equal(again.tasks.count, 120)
        for (let i = 0; i < 120; i++) assert.equal(again.tasks.file(operator, `t${i}`)?.[1_000], i)
        assert.equal(again.store.following.mirror.copies, 1)
        assert.match(again.log.join('\n'), /the mirror of the database is damaged: it is not read until/)
      })

    test('waits for the database instead of being served', async () => {
      const directory = await mirrorOf(falsified)
      const mirror = await Mirror.open(directory, { info: any, warn: any } as never)
      assert.equal(mirror.readable, false)
      assert.throws(() => mirror.count('versions'), { code: 'storage_unavailable' })
      // It was left as it is, and still knows which database it is of.
      assert.ok((mirror.history?.position.number ?? 0) >= 120)
      await mirror.close()
    })

    test('while it is in use is noticed before the missing part is read', async () => {
      const a = await replica(url)
      await until(() => a.store.following.connected, 'it follows')
      await delay(1_100)
      await truncate(join(a.directory, 'mirror.lmdb'), 100_000)
      await until(() => a.store.following.mirror.copies === 2, 'it is made anew')
      assert.equal(a.tasks.count, 120)
    })

    test('by a record that differs from the database is found by comparing them, and made anew', async () => {
      const a = await replica(url)
      await sql(url, "update propetl_records set value = 'other' where table_name = 'versions' and key = 't77'")
      const again = await replica(url, { directory: await closed(a) })
      await until(() => again.tasks.digest(operator, 't77') === 'other', 'it is what the database has')
      assert.match(again.log.join('\n'), /may be wrong.*the record \\"t77\\" of versions differs from the database/)
      await sql(url, "update propetl_records set value = 'd77' where table_name = 'versions' and key = 't77'")
    })
  })

  test('whose directory is removed or file replaced under it serves on and is made anew', async () => {
    const { url } = await newDatabase()
    const a = await replica(url)
    await put(a, 'x')
    const away = `${a.directory}-away`
    await rename(a.directory, away)
    assert.deepEqual(ids(a), ['x'])
    await until(() => a.store.following.mirror.copies === 2 && a.store.following.connected, 'it is made anew')
    await put(a, 'y')
    assert.deepEqual(ids(a), ['x', 'y'])
    await rm(join(a.directory, 'mirror.lmdb'))
    await writeFile(join(a.directory, 'mirror.lmdb'), 'no mirror')
    await until(() => a.store.following.mirror.copies === 3, 'it is made anew again')
    const again = await replica(url, { directory: await closed(a) })
    assert.deepEqual(ids(again), ['x', 'y'])
    assert.equal(again.store.following.mirror.copies, 0)
  })

  test('from an earlier version is read, and made anew with a digest', async () => {
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
    await until(() => again.store.following.mirror.copies === 1, 'it is made anew')
    assert.match(again.log.join('\n'), /an earlier version made the mirror/)
  })

  test('on a disk that is full: changes are made, told as made and shown, and written once there is room', {
    skip: !isRoot && 'only root may mount a small disk',
  }, async () => {
    const { url } = await newDatabase()
    const disk = await smallDisk()
    const [full, other] = [await replica(url, { directory: disk.directory }), await replica(url)]
    for (let i = 0; i < 20; i++) await other.tasks.put(operator, `big-${i}`, `b${i}`, Buffer.alloc(100_000, i), any)
    await until(() => full.store.following.mirror.unwrittenBytes > 0, 'its disk is full')
    assert.match(
      full.log.join('\n'),
      /the mirror cannot be written; changes stay in memory .*no space left on device \(ENOSPC\)/,
    )
    assert.equal(await full.tasks.put(operator, 'own', 'd1', file('one'), any), undefined)
    assert.equal(String(full.tasks.file(operator, 'own')), 'one')
    await until(() => other.tasks.digest(operator, 'own') === 'd1', 'the other shows it')
    await until(() => full.tasks.count === 21, 'it shows the changes of the other')
    assert.equal(full.store.following.connected, true)
    disk.makeRoom(undefined)
    await until(() => full.store.following.mirror.unwrittenBytes === 0, 'it is written')
    const again = await replica(url, { directory: await closed(full) })
    assert.equal(again.tasks.count, 21)
    assert.equal(String(again.tasks.file(operator, 'own')), 'one')
    assert.equal(again.store.following.mirror.copies, 0)
  })

  test('without room for a full copy is not begun again and again, and is made once there is room', {
    skip: !isRoot && 'only root may mount a small disk',
  }, async () => {
    const { url } = await newDatabase()
    const other = await replica(url)
    for (let i = 0; i < 15; i++) await other.tasks.put(operator, `big-${i}`, `b${i}`, Buffer.alloc(100_000, i), any)
    const disk = await smallDisk()
    const waiting = replica(url, { directory: disk.directory })
    await delay(2_500)
    disk.makeRoom(undefined)
    const { tasks, log } = await waiting
    assert.equal(tasks.count, 15)
    assert.equal(log.filter((line) => /cannot be written.*no space left on device \(ENOSPC\)/.test(line)).length, 1)
    assert.equal(log.filter((line) => line.startsWith('making a full copy')).length, 1)
  })

  test('a full copy that is cut off is begun anew, and nothing is read of the first part', async () => {
    const { url } = await newDatabase()
    const other = await replica(url)
    for (let i = 0; i < 8; i++) await other.tasks.put(operator, `t${i}`, `d${i}`, Buffer.alloc(2_000_000, i), any)
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

  test('full copies are made by two replicas at a time', async () => {
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

  test('hashes a record as the database does', async () => {
    const { url } = await newDatabase()
    const [row] = await sql(
      url,
      `select encode(substring(sha256(convert_to('files', 'UTF8') || '\\x00' || convert_to('~ä/x', 'UTF8') || '\\x00' || '\\x00ff41') from 1 for 6), 'hex') as hash`,
    )
    assert.equal(recordHash('files', '~ä/x', Buffer.from('00ff41', 'hex')).toString(16).padStart(12, '0'), row?.hash)
  })
})
