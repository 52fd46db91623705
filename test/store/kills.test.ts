// Kills sessions of the database, the whole database, and replicas at random moments of changes. Afterwards the state
// must match the outcomes that were reported. PROPETL_TEST_KILLS sets the number of kills; 50 take some minutes.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { after, before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { digestOf } from '../../src/formats/digest.js'
import type { Problem } from '../../src/problem.js'
import { operator } from '../../src/tenants/tenant.js'
import { temporaryDirectory } from '../material.js'
import { PostgresServer, sql, withoutPostgres } from '../postgres.js'
import { anyVersion, type Replica, replica, until } from './replica.js'

const kills = Number(process.env.PROPETL_TEST_KILLS ?? 3)
const writerFile = fileURLToPath(new URL('./replica-writer.js', import.meta.url))

/** A message of a writer's process: first that it tries a change, and then the change's outcome. */
interface Report {
  readonly id: string
  readonly digest: string
  readonly outcome: 'tried' | 'made' | Problem['code']
}

/** The possible states of each task after the reported outcomes. Undefined stands for no task. */
class Ledger {
  readonly possible = new Map<string, Set<string | undefined>>()
  readonly outcomes = { made: 0, notMade: 0, unknown: 0 }

  record(id: string, digest: string, outcome: 'made' | Problem['code']): void {
    const before = this.possible.get(id) ?? new Set([undefined])
    if (outcome === 'made') {
      this.outcomes.made++
      this.possible.set(id, new Set([digest]))
    } else if (outcome === 'outcome_unknown') {
      this.outcomes.unknown++
      this.possible.set(id, before.add(digest))
    } else {
      assert.ok(['storage_unavailable', 'shutting_down'].includes(outcome), outcome)
      this.outcomes.notMade++
      this.possible.set(id, before)
    }
  }

  /** Checks that every task in the database is in a possible state, and complete. @returns the digests of the tasks */
  async check(url: string): Promise<Map<string, string>> {
    const rows = await sql(
      url,
      `select convert_from(version.key, 'UTF8') as id, convert_from(version.value, 'UTF8') as digest, file.value as file
       from propetl_records as version left join propetl_records as file on file.table_name = 'files' and file.key = version.key
       where version.table_name = 'versions'`,
    )
    const found = new Map(rows.map(({ id, digest, file }) => [id as string, { digest: digest as string, file }]))
    for (const [id, possible] of this.possible) {
      const task = found.get(id)
      assert.ok(possible.has(task?.digest), `${id} is ${task?.digest}, and may be ${[...possible].join(' or ')}`)
      if (task) assert.equal(digestOf(task.file as Buffer), task.digest)
    }
    return new Map([...found].map(([id, { digest }]) => [id, digest]))
  }
}

describe('kills at random moments of changes', { skip: withoutPostgres }, () => {
  let server: PostgresServer
  before(async () => {
    server = await PostgresServer.start()
  })

  test('of sessions and of the database: every reported outcome is right, and most changes are made', async (t) => {
    const url = server.url()
    const replicas = await Promise.all([replica(url), replica(url)])
    const ledger = new Ledger()
    let stopped = false
    const write = async ({ tasks }: Replica, name: string) => {
      for (let i = 0; !stopped; i++) {
        const id = `${name}-${i % 5}`
        const file = randomBytes(i % 10 === 9 ? 400_000 : 4_000)
        const digest = digestOf(file)
        const outcome = await tasks.put(operator, id, digest, file, anyVersion).then(
          () => 'made' as const,
          ({ code }: Problem) => code,
        )
        ledger.record(id, digest, outcome)
        // Like a client that waits before it retries.
        if (outcome !== 'made') await delay(500)
      }
    }
    const writing = replicas.flatMap((each, r) => [0, 1, 2].map((w) => write(each, `w${r}${w}`)))
    for (let kill = 0; kill < kills; kill++) {
      const { made } = ledger.outcomes
      await until(() => ledger.outcomes.made > made + 20, 'changes are made')
      await delay(Math.random() * 100)
      if (kill % 3 === 2) {
        server.kill()
        await restarted(server)
      } else {
        const [session] = await sql(
          url,
          "select pid from pg_stat_activity where application_name ~ '/(change|send)/' order by random() limit 1",
        )
        if (session) process.kill(session.pid as number, 'SIGKILL')
      }
    }
    const { made } = ledger.outcomes
    await until(() => ledger.outcomes.made > made + 20, 'changes are made')
    stopped = true
    await Promise.all(writing)
    const truth = await ledger.check(url)
    for (const { tasks } of replicas)
      await until(
        () => [...truth].every(([id, digest]) => tasks.digest(operator, id) === digest),
        'mirrors are the database',
      )
    for (const { tasks } of replicas)
      for (const [id, digest] of truth) assert.equal(digestOf(tasks.file(operator, id) ?? Buffer.alloc(0)), digest)
    const { notMade, unknown } = ledger.outcomes
    assert.ok(ledger.outcomes.made >= notMade + unknown)
    t.diagnostic(`${ledger.outcomes.made} changes made, ${notMade} not made, ${unknown} unknown`)
  })

  test('of a replica: no acknowledged change is lost, and no change is made in part', async () => {
    await sql(server.url(), 'create database killed')
    const url = server.url('killed')
    const directory = await temporaryDirectory()
    const ledger = new Ledger()
    for (let kill = 0; kill < kills; kill++) {
      const child = fork(writerFile, [url, directory])
      after(() => child.kill('SIGKILL'))
      let acknowledged = 0
      child.on('message', ({ id, digest, outcome }: Report) => {
        if (outcome === 'made') acknowledged++
        // A change that is under way when the process dies may be made or not.
        ledger.record(id, digest, outcome === 'tried' ? 'outcome_unknown' : outcome)
      })
      await until(() => acknowledged > 10, 'changes are acknowledged')
      await delay(Math.random() * 300)
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
      await ledger.check(url)
    }
  })
})

/** After a crash, the port and the shared memory are free once the server's last child has noticed it. */
async function restarted(server: PostgresServer): Promise<void> {
  for (let tries = 0; ; tries++)
    try {
      return await server.start()
    } catch (error) {
      if (tries === 50) throw error
      await delay(100)
    }
}
