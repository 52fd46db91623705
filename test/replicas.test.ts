// Two server processes on one real database.

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
  assert.fail(`timed out waiting until ${what}`)
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

/** Collects the log of a server from now on. */
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

  test('activate versions for each other, and add up the comparisons with a candidate', async () => {
    const [a, b] = replicas
    const files = [0, 1].map((shift) => shiftedTask(sst2, shift))
    const digests = files.map((file) => digestOf(file))
    const active = ({ url }: ServerProcess, body: object) =>
      fetch(`${url}/tasks/versions/active`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(body),
      })
    const isAt = (replica: ServerProcess, digest: string | undefined) =>
      until(async () => (await versionAt(replica, 'versions')) === digest, 'the version is active')
    for (const file of files) await put(a.url, 'versions', file)
    await isAt(b, digests[1])
    assert.equal((await active(b, { version: 1 })).status, 200)
    await isAt(a, digests[0])
    assert.equal((await active(a, { version: 2, shadow: true })).status, 200)
    const compared = async ({ url }: ServerProcess) => {
      const list = (await (await fetch(`${url}/tasks/versions/versions`)).json()) as {
        readonly candidate: { readonly compared: number } | null
      }
      return list.candidate?.compared ?? 0
    }
    for (const [index, replica] of replicas.entries()) {
      await until(async () => {
        await predict(replica.url, 'versions')
        return (await compared(a)) > index
      }, 'comparisons are counted')
    }
    const total = await compared(a)
    await until(async () => (await compared(b)) >= total, 'both replicas have the sum')
    assert.equal((await fetch(`${a.url}/tasks/versions`, { method: 'DELETE' })).status, 204)
    await isAt(b, undefined)
  })

  test('serve a task that is uploaded, replaced and removed on either of them', async () => {
    const [a, b] = replicas
    for (let round = 0; round < 4; round++) {
      const [from, to] = round % 2 === 0 ? [a, b] : [b, a]
      const file = shiftedTask(sst2, round)
      assert.equal((await put(from.url, 'x', file)).status, round === 0 ? 201 : 200)
      assert.equal(await versionAt(from, 'x'), digestOf(file))
      await until(
        async () => (await versionAt(to, 'x')) === digestOf(file),
        'the other replica serves the same version',
      )
    }
    assert.equal((await fetch(`${b.url}/tasks/x`, { method: 'DELETE' })).status, 204)
    await until(async () => (await versionAt(a, 'x')) === undefined, 'the other replica has removed the task')
    assert.equal((await database(a))?.connected, true)
    assert.equal(await metric(a, 'propetl_database_connected'), 1)
  })

  test('predict while the database is unreachable, respond 503 to uploads, and reconnect by themselves', async () => {
    const [a, b] = replicas
    await put(a.url, 'kept', sst2)
    await until(async () => (await versionAt(b, 'kept')) !== undefined, 'both replicas have the task')
    await postgres.stop()
    await until(async () => (await database(b))?.connected === false, 'the replica notices that the database is gone')
    for (const rejected of [await put(b.url, 'new', sst2), await fetch(`${b.url}/tasks/kept`, { method: 'DELETE' })]) {
      assert.deepEqual([rejected.status, rejected.headers.get('retry-after')], [503, '5'])
      const { code, detail } = (await rejected.json()) as { code: string; detail: string }
      assert.equal(code, 'storage_unavailable')
      assert.match(detail, /the change was not made/)
    }
    for (const each of replicas) assert.equal(await versionAt(each, 'kept'), digestOf(sst2))
    assert.equal((await fetch(`${b.url}/health/ready`)).status, 200)
    assert.equal(await metric(b, 'propetl_database_connected'), 0)
    assert.ok((await metric(b, 'propetl_database_behind_seconds')) > 0)
    await postgres.start()
    await until(async () => (await put(b.url, 'new', sst2)).ok, 'uploads are accepted again')
    await until(async () => (await versionAt(a, 'new')) === digestOf(sst2), 'the other replica has the upload')
  })

  test('a process that was paused during a change accepts the response that arrived in the meantime', async () => {
    const link = await TcpProxy.start(postgres.port)
    const paused = await replica(await temporaryDirectory(), link.port)
    const log = logOf(paused)
    link.freeze()
    const upload = put(paused.url, 'paused', sst2)
    // The message of the change is in the link before the process stops.
    await delay(500)
    paused.process.kill('SIGSTOP')
    link.limit({})
    // Longer than the timeout of a response. Other replicas are not delayed.
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

  test('a change whose outcome stays unknown gets a 503 that says so, and is in the audit trail', async () => {
    const link = await TcpProxy.start(postgres.port)
    const cutOff = await replica(await temporaryDirectory(), link.port)
    const log = logOf(cutOff)
    link.blackHole = true
    const response = await put(cutOff.url, 'doubtful', sst2)
    const { code, detail } = (await response.json()) as { code: string; detail: string }
    assert.deepEqual([response.status, code, response.headers.get('retry-after')], [503, 'outcome_unknown', '5'])
    assert.match(detail, /the change may have been made or not/)
    const auditLine = () => log.text.split('\n').find((line) => line.includes('"audit":true'))
    await until(async () => auditLine() !== undefined, 'the line is written')
    const { actor, action, object, after, outcome } = JSON.parse(auditLine() ?? '') as Record<string, string>
    assert.deepEqual(
      { actor, action, object, after, outcome },
      { actor: 'operator', action: 'task.put', object: 'doubtful', after: digestOf(sst2), outcome: 'unknown' },
    )
    link.blackHole = false
    link.cut()
    // The same upload can be sent again, whatever the outcome was.
    await until(async () => (await put(cutOff.url, 'doubtful', sst2)).ok, 'changes are accepted again')
    assert.equal(await versionAt(cutOff, 'doubtful'), digestOf(sst2))
    cutOff.process.kill('SIGTERM')
    assert.deepEqual(await cutOff.exit, [0, null])
    link.close()
  })

  test('a replica without a mirror waits for the database, and stops on SIGTERM', async () => {
    await postgres.stop()
    const env = { ...process.env, PROPETL_DATABASE_URL: postgres.url().replace('propetl@', 'propetl:secret-word@') }
    const waiting = start([], await referenceFlags(await temporaryDirectory()), { env })
    let log = ''
    waiting.stdout?.on('data', (piece) => {
      log += piece
    })
    await until(async () => /waiting for the database/.test(log), 'the log says what the replica waits for')
    const exit = new Promise((resolve) => waiting.once('exit', (code) => resolve(code)))
    waiting.kill('SIGTERM')
    assert.equal(await exit, 0)
    assert.doesNotMatch(log, /secret-word/)
    await postgres.start()
  })

  test('shut down gracefully', async () => {
    for (const { process: child, exit } of replicas) {
      child.kill('SIGTERM')
      assert.deepEqual(await exit, [0, null])
    }
  })
})
