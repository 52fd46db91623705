// Two server processes over one real database.

import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../src/formats/digest.js'
import { shiftedTask, taskBytes, temporaryDirectory } from './material.js'
import { PostgresServer, withoutPostgres } from './postgres.js'
import { predict, predictionOf, put, ready, referenceFlags, type ServerProcess, start } from './server-process.js'
import { TcpProxy } from './tcp-proxy.js'

const sst2 = taskBytes('sst2')

async function until(holds: () => Promise<boolean>, what: string): Promise<void> {
  for (let tries = 0; tries < 500; tries++) {
    if (await holds()) return
    await delay(20)
  }
  assert.fail(`it never came to be that ${what}`)
}

const versionAt = async ({ url }: ServerProcess, id: string): Promise<string | undefined> => {
  const response = await predict(url, id)
  return response.status === 404 ? undefined : (await predictionOf(response)).version
}

const database = async ({ url }: ServerProcess) =>
  (
    (await (await fetch(`${url}/health/ready`)).json()) as {
      database?: { connected: boolean; behind_seconds: number }
    }
  ).database

const metric = async ({ url }: ServerProcess, name: string) =>
  Number(new RegExp(`^${name} (.+)$`, 'm').exec(await (await fetch(`${url}/metrics`)).text())?.[1])

/** What a server says from now on. */
function logOf({ process: { stdout } }: ServerProcess): { readonly text: string } {
  const log = { text: '' }
  stdout?.on('data', (piece) => {
    log.text += piece
  })
  return log
}

describe('two replicas', { skip: withoutPostgres }, () => {
  let postgres: PostgresServer
  let replicas: readonly [ServerProcess, ServerProcess]
  const replica = async (dataDir: string, port = postgres.port) => {
    const env = { ...process.env, PROPETL_DATABASE_URL: postgres.url('postgres', port) }
    return ready(start([], await referenceFlags(dataDir), { env }))
  }
  before(async () => {
    postgres = await PostgresServer.start()
    const directories = [await temporaryDirectory(), await temporaryDirectory()] as const
    replicas = await Promise.all([replica(directories[0]), replica(directories[1])])
  })

  test('serve a task that is uploaded, replaced and removed on either of them', async () => {
    const [a, b] = replicas
    for (let round = 0; round < 4; round++) {
      const [from, to] = round % 2 === 0 ? [a, b] : [b, a]
      const file = shiftedTask(sst2, round)
      assert.equal((await put(from.url, 'x', file)).status, round === 0 ? 201 : 200)
      assert.equal(await versionAt(from, 'x'), digestOf(file))
      await until(async () => (await versionAt(to, 'x')) === digestOf(file), 'the other serves the same version')
    }
    assert.equal((await fetch(`${b.url}/tasks/x`, { method: 'DELETE' })).status, 204)
    await until(async () => (await versionAt(a, 'x')) === undefined, 'it is gone on the other')
    assert.equal((await database(a))?.connected, true)
    assert.equal(await metric(a, 'propetl_database_connected'), 1)
  })

  test('predict while the database is away, answer 503 to uploads, and come back by themselves', async () => {
    const [a, b] = replicas
    await put(a.url, 'kept', sst2)
    await until(async () => (await versionAt(b, 'kept')) !== undefined, 'both have the task')
    await postgres.stop()
    await until(async () => (await database(b))?.connected === false, 'the replica knows that the database is away')
    for (const refused of [await put(b.url, 'new', sst2), await fetch(`${b.url}/tasks/kept`, { method: 'DELETE' })]) {
      assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '5'])
      const { code, detail } = (await refused.json()) as { code: string; detail: string }
      assert.equal(code, 'storage_unavailable')
      assert.match(detail, /the change was not made/)
    }
    for (const each of replicas) assert.equal(await versionAt(each, 'kept'), digestOf(sst2))
    assert.equal((await fetch(`${b.url}/health/ready`)).status, 200)
    assert.equal(await metric(b, 'propetl_database_connected'), 0)
    assert.ok((await metric(b, 'propetl_database_behind_seconds')) > 0)
    await postgres.start()
    await until(async () => (await put(b.url, 'new', sst2)).ok, 'uploads are taken again')
    await until(async () => (await versionAt(a, 'new')) === digestOf(sst2), 'the other follows')
  })

  test('a process that stood still while a change was made takes the answer that came meanwhile', async () => {
    const link = await TcpProxy.start(postgres.port)
    const paused = await replica(await temporaryDirectory(), link.port)
    const log = logOf(paused)
    link.freeze()
    const upload = put(paused.url, 'paused', sst2)
    // Its message is in the link before it stops.
    await delay(500)
    paused.process.kill('SIGSTOP')
    link.limit({})
    // Longer than it would wait for an answer. Others are not held up.
    const [other] = replicas
    for (const until = performance.now() + 7_000; performance.now() < until; await delay(500))
      assert.ok((await put(other.url, 'meanwhile', sst2)).ok)
    paused.process.kill('SIGCONT')
    assert.equal((await upload).status, 201)
    assert.doesNotMatch(log.text, /is lost|did not respond/)
    paused.process.kill('SIGTERM')
    assert.deepEqual(await paused.exit, [0, null])
    link.close()
  })

  test('a change whose outcome cannot be found out is answered so, and is in the audit trail', async () => {
    const link = await TcpProxy.start(postgres.port)
    const cutOff = await replica(await temporaryDirectory(), link.port)
    const log = logOf(cutOff)
    link.blackHole = true
    const response = await put(cutOff.url, 'doubtful', sst2)
    const { code, detail } = (await response.json()) as { code: string; detail: string }
    assert.deepEqual([response.status, code, response.headers.get('retry-after')], [503, 'outcome_unknown', '5'])
    assert.match(detail, /it may have been made or not/)
    const auditLine = () => log.text.split('\n').find((line) => line.includes('"audit":true'))
    await until(async () => auditLine() !== undefined, 'the line is written')
    const { actor, action, object, after, outcome } = JSON.parse(auditLine() ?? '') as Record<string, string>
    assert.deepEqual(
      { actor, action, object, after, outcome },
      { actor: 'operator', action: 'task.put', object: 'doubtful', after: digestOf(sst2), outcome: 'unknown' },
    )
    link.blackHole = false
    link.cut()
    // The same bytes once more do no harm, whatever the outcome was.
    await until(async () => (await put(cutOff.url, 'doubtful', sst2)).ok, 'changes are taken again')
    assert.equal(await versionAt(cutOff, 'doubtful'), digestOf(sst2))
    cutOff.process.kill('SIGTERM')
    assert.deepEqual(await cutOff.exit, [0, null])
    link.close()
  })

  test('a replica waits for a database that it has no copy of, and stops when it is told to', async () => {
    await postgres.stop()
    const env = { ...process.env, PROPETL_DATABASE_URL: postgres.url().replace('propetl@', 'propetl:secret-word@') }
    const waiting = start([], await referenceFlags(await temporaryDirectory()), { env })
    let log = ''
    waiting.stdout?.on('data', (piece) => {
      log += piece
    })
    await until(async () => /waiting for the database/.test(log), 'it says what it waits for')
    const exit = new Promise((resolve) => waiting.once('exit', (code) => resolve(code)))
    waiting.kill('SIGTERM')
    assert.equal(await exit, 0)
    assert.doesNotMatch(log, /secret-word/)
    await postgres.start()
  })

  test('end in order', async () => {
    for (const { process: child, exit } of replicas) {
      child.kill('SIGTERM')
      assert.deepEqual(await exit, [0, null])
    }
  })
})
