// The database is emptied, restored from a copy, failed over, or unreachable because of its settings.

import { execFileSync } from 'node:child_process'
import { basename, join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { sql } from '../../test/postgres.js'
import { atMost, type Fault, type Finding, none, unless } from './fault.js'
import { describeResponse, type ServerUnderTest } from './server.js'
import { version } from './task-files.js'
import type { Database } from './testbed.js'
import { timeUntil } from './waiting.js'

/** Ends all sessions of a database, and allows no new ones. */
async function close({ server, name }: Database): Promise<void> {
  await sql(
    server.url(),
    `alter database ${name} allow_connections false`,
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = '${name}'`,
  )
  // A session ends a moment after pg_terminate_backend returns.
  const others = `select 1 from pg_stat_activity where datname = '${name}'`
  await timeUntil(async () => (await sql(server.url(), others)).length === 0, 5_000)
}

/** The tasks that a replica lacks, and those that it has but should not have. */
async function differences(replica: ServerUnderTest, expected: readonly string[]): Promise<string[]> {
  const found = await replica.uploaded()
  return [
    ...expected.filter((id) => !found.includes(id)).map((id) => `${id} is missing`),
    ...found.filter((id) => !expected.includes(id)).map((id) => `${id} should not exist`),
  ]
}

const followMs = 10_000

async function follows(replica: ServerUnderTest, expected: readonly string[]): Promise<Finding> {
  const same = async () => (await differences(replica, expected)).length === 0
  const ms = await timeUntil(same, 3 * followMs, 200)
  const name = 'time until the replica has the data of the database'
  return atMost(name, 'ms', ms ?? 3 * followMs, followMs, {
    ...(ms === undefined && { found: (await differences(replica, expected)).slice(0, 5).join('; ') }),
  })
}

const emptyDatabase: Fault = {
  name: 'database-empty',
  cause: 'the database that a replica mirrors is replaced with an empty one',
  expected: 'the mirror keeps its data, also after a restart; API keys stay valid',
  needs: ['postgres'],
  async run(testbed) {
    const database = await testbed.database()
    const dataDir = await testbed.directory()
    const replica = await testbed.replica(database.url, { dataDir })
    const ids = ['a', 'b', 'c', 'd', 'e']
    for (const [index, id] of ids.entries()) await replica.put(id, version(index))
    await replica.request('PUT', '/tenants/acme', { body: {} })
    const created = await replica.request('POST', '/tenants/acme/keys', { body: {} })
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
    const { status } = await replica.request('GET', '/tasks', { key })
    await replica.kill()
    const again = testbed.launch({ dataDir, env: { PROPETL_DATABASE_URL: database.url } })
    await timeUntil(() => again.isReady || again.isEnded, 10_000)
    // A failed start leaves the mirror unchanged too.
    const restarted = again.isReady ? await differences(again, ids) : []
    return [
      none('tasks that a running replica lost', running),
      none(
        'keys that a running replica lost',
        unless(status === 200, `a request with the tenant's key returned ${status}`),
      ),
      none('tasks that were lost by a restart', restarted, { start: again.isReady ? 'ready' : again.lastLine }),
    ]
  },
}

const restoredDatabase: Fault = {
  name: 'database-restored',
  cause: 'the database is replaced with a copy from before the last changes, while two replicas run',
  expected: `both have the data of the database within ${followMs} ms, and accept changes`,
  needs: ['postgres'],
  async run(testbed) {
    const database = await testbed.database()
    const { name, server } = database
    const replicas = await Promise.all([testbed.replica(database.url), testbed.replica(database.url)])
    const [first, second] = replicas
    if (first === undefined || second === undefined) throw new Error('two replicas were expected')
    for (const id of ['kept', 'removed']) await first.put(id, version(0))
    await close(database)
    await sql(
      server.url(),
      `create database ${name}_copy template ${name}`,
      `alter database ${name} allow_connections true`,
    )
    await timeUntil(async () => (await first.put('ghost', version(1))).status < 300, 20_000, 200)
    await first.request('DELETE', '/tasks/removed')
    await close(database)
    await sql(
      server.url(),
      `alter database ${name} rename to ${name}_old`,
      `alter database ${name}_copy rename to ${name}`,
      `alter database ${name} allow_connections true`,
    )
    const followed = [await follows(first, ['kept', 'removed']), await follows(second, ['kept', 'removed'])]
    const change = await first.put('new', version(2))
    return [...followed, none('rejected changes', unless(change.status === 201, describeResponse(change)))]
  },
}

const failover: Fault = {
  name: 'database-failover',
  cause: 'the database fails over to a standby that missingNeeds the last two changes',
  expected: `the replica has the data of the database within ${followMs} ms, and accepts changes`,
  needs: ['postgres'],
  async run(testbed) {
    const database = await testbed.ownDatabase()
    const { server } = database
    const replica = await testbed.replica(database.url)
    await replica.put('kept', version(0))
    // The copy is what a standby would have that stopped replicating here.
    await server.stop()
    const standby = await testbed.directory()
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
    return [followed, none('rejected changes', unless(change.status < 300, describeResponse(change)))]
  },
}

const wrongSettings: Fault = {
  name: 'database-settings',
  cause: 'the address of the database requires TLS, which the database does not offer',
  expected: 'the start fails with exit code 1 and the reason',
  needs: ['postgres'],
  async run(testbed) {
    const database = await testbed.database()
    const dataDir = await testbed.directory()
    const server = testbed.launch({ dataDir, env: { PROPETL_DATABASE_URL: `${database.url}?sslmode=require` } })
    const ms = await server.timeToEnd(20_000)
    return [
      atMost('time until the process exits', 'ms', ms, 10_000),
      none('exits other than with code 1', unless(server.end === 'exit code 1', server.end)),
      none('missing reasons', unless(/ssl|tls/i.test(server.lastLine), server.lastLine)),
    ]
  },
}

export const databaseFaults: readonly Fault[] = [emptyDatabase, restoredDatabase, failover, wrongSettings]
