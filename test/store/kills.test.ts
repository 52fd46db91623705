// Sessions of the database, the whole of it, and replicas are killed at random moments of changes. Afterwards everything
// is as the answers said. PROPETL_TEST_KILLS says how often: 50 take some minutes.

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
import { any, type Replica, replica, until } from './replica.js'

const kills = Number(process.env.PROPETL_TEST_KILLS ?? 3)
const writerFile = fileURLToPath(new URL('./replica-writer.js', import.meta.url))

/** Of a writer's process: a change that it tries, and then what it was answered. */
interface Told {
  readonly id: string
  readonly digest: string
  readonly outcome: 'tried' | 'made' | Problem['code']
}

/** What each task may be after the answers that came: undefined for not there. */
class Ledger {
  readonly possible = new Map<string, Set<string | undefined>>()
  readonly answers = { made: 0, notMade: 0, unknown: 0 }

  record(id: string, digest: string, outcome: 'made' | Problem['code']): void {
    const before = this.possible.get(id) ?? new Set([undefined])
    if (outcome === 'made') {
      this.answers.made++
      this.possible.set(id, new Set([digest]))
    } else if (outcome === 'outcome_unknown') {
      this.answers.unknown++
      this.possible.set(id, before.add(digest))
    } else {
      assert.ok(['storage_unavailable', 'shutting_down'].includes(outcome), outcome)
      this.answers.notMade++
      this.possible.set(id, before)
    }
  }

  /** All of the database is as the answers said, and as it was sent. @returns the digests of the tasks */
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

  test('of sessions and of the database: every answer is right, and most changes are made', async (t) => {
    const url = server.url()
    const replicas = await Promise.all([replica(url), replica(url)])
    const ledger = new Ledger()
    let stopped = false
    const write = async ({ tasks }: Replica, name: string) => {
      for (let i = 0; !stopped; i++) {
        const id = `${name}-${i % 5}`
        const file = randomBytes(i % 10 === 9 ? 400_000 : 4_000)
        const digest = digestOf(file)
        const outcome = await tasks.put(operator, id, digest, file, any).then(
          () => 'made' as const,
          ({ code }: Problem) => code,
        )
        ledger.record(id, digest, outcome)
        // As a client that waits before it tries again.
        if (outcome !== 'made') await delay(500)
      }
    }
    const writing = replicas.flatMap((each, r) => [0, 1, 2].map((w) => write(each, `w${r}${w}`)))
    for (let kill = 0; kill < kills; kill++) {
      const { made } = ledger.answers
      await until(() => ledger.answers.made > made + 20, 'changes are made')
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
    const { made } = ledger.answers
    await until(() => ledger.answers.made > made + 20, 'changes are made')
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
    const { notMade, unknown } = ledger.answers
    assert.ok(ledger.answers.made >= notMade + unknown)
    t.diagnostic(`${ledger.answers.made} changes made, ${notMade} not made, ${unknown} unknown`)
  })

  test('of a replica: nothing that was acknowledged is lost, and nothing is half there', async () => {
    await sql(server.url(), 'create database killed')
    const url = server.url('killed')
    const directory = await temporaryDirectory()
    const ledger = new Ledger()
    for (let kill = 0; kill < kills; kill++) {
      const child = fork(writerFile, [url, directory])
      after(() => child.kill('SIGKILL'))
      let acknowledged = 0
      child.on('message', ({ id, digest, outcome }: Told) => {
        if (outcome === 'made') acknowledged++
        // What is under way when the process dies may be made or not.
        ledger.record(id, digest, outcome === 'tried' ? 'outcome_unknown' : outcome)
      })
      await until(() => acknowledged > 10, 'it stores')
      await delay(Math.random() * 300)
      const exit = once(child, 'exit')
      child.kill('SIGKILL')
      await exit
      await ledger.check(url)
    }
  })
})

/** After a crash the port and the shared memory are free once the server's last child has noticed. */
async function restarted(server: PostgresServer): Promise<void> {
  for (let tries = 0; ; tries++)
    try {
      return await server.start()
    } catch (error) {
      if (tries === 50) throw error
      await delay(100)
    }
}
