// A database that is not what it was: emptied, restored, failed over, or out of reach by its settings.

import { execFileSync } from 'node:child_process'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { sql } from '../../test/postgres.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import { type ServerUnderTest, told } from './server.js'
import type { Database } from './stage.js'
import { version } from './task-files.js'
import { timeUntil } from './waiting.js'

/** Ends all sessions of a database, and lets none begin. */
async function close({ server, name }: Database): Promise<void> {
  await sql(
    server.url(),
    `alter database ${name} allow_connections false`,
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`,
  )
  // A session ends a moment after it is told to.
  const others = `select 1 from pg_stat_activity where datname = '${name}'`
  await timeUntil(async () => (await sql(server.url(), others)).length === 0, 5_000)
}

/** The tasks that a replica is to have, and those that it has beside them. */
async function differences(replica: ServerUnderTest, expected: readonly string[]): Promise<string[]> {
  const found = await replica.uploaded()
  return [
    ...expected.filter((id) => !found.includes(id)).map((id) => `${id} is gone`),
    ...found.filter((id) => !expected.includes(id)).map((id) => `${id} is there`),
  ]
}

const followMs = 10_000

async function follows(replica: ServerUnderTest, expected: readonly string[]): Promise<Finding> {
  const same = async () => (await differences(replica, expected)).length === 0
  const ms = await timeUntil(same, 3 * followMs, 200)
  const what = 'until the replica has what the database has'
  return atMost(what, 'ms', ms ?? 3 * followMs, followMs, {
    ...(ms === undefined && { found: (await differences(replica, expected)).slice(0, 5).join('; ') }),
  })
}

const emptyDatabase: Fault = {
  name: 'database-empty',
  does: 'an empty database takes the place of the one that a replica mirrors',
  must: 'the mirror keeps what it has, also over a restart; keys go on',
  needs: ['postgres'],
  async run(stage) {
    const database = await stage.database()
    const dataDir = await stage.directory()
    const replica = await stage.replica(database.url, { dataDir })
    const ids = ['a', 'b', 'c', 'd', 'e']
    for (const [index, id] of ids.entries()) await replica.put(id, version(index))
    await replica.ask('PUT', '/tenants/acme', { body: {} })
    const created = await replica.ask('POST', '/tenants/acme/keys', { body: {} })
    const { key } = JSON.parse(created.body.toString()) as { key: string }
    await close(database)
    const admin = database.server.url()
    await sql(
      admin,
      `alter database ${database.name} rename to ${database.name}_old`,
      `create database ${database.name}`,
    )
    await delay(6_000)
    const running = await differences(replica, ids)
    const { status } = await replica.ask('GET', '/tasks', { key })
    await replica.kill()
    const again = stage.launch({ dataDir, env: { PROPETL_DATABASE_URL: database.url } })
    await timeUntil(() => again.isReady || again.isEnded, 10_000)
    // A start that is refused leaves the mirror as it is, too.
    const restarted = again.isReady ? await differences(again, ids) : []
    return [
      none('tasks that a running replica lost', running),
      none('keys that a running replica lost', unless(status === 200, `the tenant's key is answered ${status}`)),
      none('tasks that were lost over a restart', restarted, { start: again.isReady ? 'ready' : again.lastLine }),
    ]
  },
}

const restoredDatabase: Fault = {
  name: 'database-restored',
  does: 'the database is replaced by a copy from before the last changes, while two replicas run',
  must: `both have what the database has within ${followMs} ms, and take changes`,
  needs: ['postgres'],
  async run(stage) {
    const database = await stage.database()
    const { name, server } = database
    const replicas = await Promise.all([stage.replica(database.url), stage.replica(database.url)])
    const [first, second] = replicas
    if (first === undefined || second === undefined) throw new Error('there are no replicas')
    for (const id of ['kept', 'removed']) await first.put(id, version(0))
    await close(database)
    await sql(
      server.url(),
      `create database ${name}_copy template ${name}`,
      `alter database ${name} allow_connections true`,
    )
    await timeUntil(async () => (await first.put('ghost', version(1))).status < 300, 20_000, 200)
    await first.ask('DELETE', '/tasks/removed')
    await close(database)
    await sql(
      server.url(),
      `alter database ${name} rename to ${name}_old`,
      `alter database ${name}_copy rename to ${name}`,
      `alter database ${name} allow_connections true`,
    )
    const followed = [await follows(first, ['kept', 'removed']), await follows(second, ['kept', 'removed'])]
    const change = await first.put('new', version(2))
    return [...followed, none('refused changes', unless(change.status === 201, told(change)))]
  },
}

const failover: Fault = {
  name: 'database-failover',
  does: 'the database fails over to a standby that lacks the last two changes',
  must: `the replica has what the database has within ${followMs} ms, and takes changes`,
  needs: ['postgres'],
  async run(stage) {
    const database = await stage.ownDatabase()
    const { server } = database
    const replica = await stage.replica(database.url)
    await replica.put('kept', version(0))
    // What a standby would have that stopped to follow here.
    await server.stop()
    const standby = await stage.directory()
    execFileSync('cp', ['-a', server.data, standby])
    await server.start()
    await timeUntil(async () => (await replica.put('lost-1', version(1))).status < 300, 20_000, 200)
    await replica.put('lost-2', version(2))
    await server.stop('immediate')
    execFileSync('rm', ['-r', server.data])
    execFileSync('cp', ['-a', join(standby, basename(server.data)), server.data])
    await server.start()
    const followed = await follows(replica, ['kept'])
    const change = await replica.put('new', version(3))
    return [followed, none('refused changes', unless(change.status < 300, told(change)))]
  },
}

const wrongSettings: Fault = {
  name: 'database-settings',
  does: 'the address of the database asks for TLS, which the database does not have',
  must: 'the start is refused with the reason, exit code 1',
  needs: ['postgres'],
  async run(stage) {
    const database = await stage.database()
    const dataDir = await stage.directory()
    const server = stage.launch({ dataDir, env: { PROPETL_DATABASE_URL: `${database.url}?sslmode=require` } })
    const ms = await server.timeToEnd(20_000)
    return [
      atMost('until the process ends', 'ms', ms, 10_000),
      none('other ends than exit code 1', unless(server.end === 'exit code 1', server.end)),
      none('reasons that are not told', unless(/ssl|tls/i.test(server.lastLine), server.lastLine)),
    ]
  },
}

export const databaseFaults: readonly Fault[] = [emptyDatabase, restoredDatabase, failover, wrongSettings]
