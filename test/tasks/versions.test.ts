// The versions of tasks in the store: which ones are kept, which one is active, and what they take of quotas.

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Problem } from '../../src/problem.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { recordsIn, tables } from '../../src/store/store.js'
import { TaskStore } from '../../src/tasks/store.js'
import { taskKey } from '../../src/tasks/task-key.js'
import { addVersion, countComparisons, maxReportBytes, type NewVersion } from '../../src/tasks/versions.js'
import { operator, type TaskOwner } from '../../src/tenants/tenant.js'
import { usageOf } from '../../src/tenants/usage.js'
import { temporaryDirectory } from '../material.js'
import { anyVersion, newTenant, openStore } from '../tenants/material.js'

const file = (bytes: number, fill = 1) => Buffer.alloc(bytes, fill)

const numbers = (tasks: TaskStore, owner = operator as string, id = 'a') =>
  tasks.versions(owner, id).map(({ number }) => number)

const learned = (digest: string, bytes: Buffer, more: Partial<NewVersion> = {}): NewVersion => ({
  digest,
  file: bytes,
  by: 'operator',
  source: { kind: 'job', job: 'j1', stage: 'final' },
  ...more,
})

/** Adds a version as a job does, without activating it. */
const add = (tasks: TaskStore, by: TaskOwner, version: NewVersion, keep = tasks.versionsKept) =>
  tasks.store.change((records) => addVersion(records, by, 'a', version, { activate: false, keep }))

/** The bytes of all files of versions that the store has. */
function storedBytes({ store }: TaskStore): number {
  let bytes = 0
  for (const table of ['files', 'kept', 'reports'] as const)
    for (const [, value] of store.range(table)) bytes += value.byteLength
  return bytes
}

describe('the versions of a task', () => {
  test('are made by uploads, and the file of each one can be read and activated again', async () => {
    const { store, tasks } = await openStore()
    for (const [digest, size] of [
      ['d1', 10],
      ['d2', 20],
      ['d3', 30],
    ] as const)
      await tasks.put(operator, 'a', digest, file(size), anyVersion, {
        by: 'operator/k1',
        metric: 'accuracy',
        score: 0.5,
      })
    const [first] = tasks.versions(operator, 'a')
    const { created, ...rest } = first ?? assert.fail()
    assert.ok(Date.now() - Date.parse(created ?? '') < 60_000)
    assert.deepEqual(rest, {
      number: 1,
      digest: 'd1',
      bytes: 10,
      by: 'operator/k1',
      source: { kind: 'upload' },
      metric: 'accuracy',
      score: 0.5,
    })
    assert.deepEqual(numbers(tasks), [1, 2, 3])
    assert.equal(tasks.digestOf(operator, 'a', 2), 'd2')
    assert.deepEqual(await tasks.activate(operator, 'a', 1, anyVersion), { before: 'd3', after: 'd1' })
    for (const [digest, size] of [
      ['d1', 10],
      ['d2', 20],
      ['d3', 30],
    ] as const)
      assert.equal(tasks.file(operator, 'a', digest)?.byteLength, size)
    assert.equal(tasks.file(operator, 'a')?.byteLength, 10)
    assert.equal(tasks.file(operator, 'a', 'd4'), undefined)
    assert.equal(storedBytes(tasks), 60)
    assert.deepEqual(usageOf(store, operator), { tasks: 1, bytes: 60, examples: 0 })
    await store.close()
  })

  test('do not grow when a file is uploaded again: its version becomes active', async () => {
    const { store, tasks } = await openStore()
    for (const digest of ['d1', 'd2', 'd1', 'd1']) await tasks.put(operator, 'a', digest, file(10), anyVersion)
    assert.deepEqual(numbers(tasks), [1, 2])
    assert.equal(tasks.digest(operator, 'a'), 'd1')
    assert.deepEqual(usageOf(store, operator), { tasks: 1, bytes: 20, examples: 0 })
    await store.close()
  })

  test('are dropped from the oldest on beyond the number to keep, except for the active one and the candidate', async () => {
    const store = LmdbStore.open(await temporaryDirectory())
    const tasks = await TaskStore.open(store, 3)
    for (const digest of ['d1', 'd2', 'd3', 'd4']) await tasks.put(operator, 'a', digest, file(10), anyVersion)
    assert.deepEqual(numbers(tasks), [2, 3, 4])
    await tasks.activate(operator, 'a', 2, anyVersion)
    await tasks.startTrial(operator, 'a', 3, 'shadow', anyVersion)
    for (const digest of ['d5', 'd6', 'd7'])
      await add(tasks, operator, learned(digest, file(10), { report: { digest } }))
    assert.deepEqual(numbers(tasks), [2, 3, 7])
    assert.equal(tasks.report(operator, 'a', 6), undefined)
    assert.equal(tasks.report(operator, 'a', 7)?.toString(), '{"digest":"d7"}')
    assert.equal(storedBytes(tasks), usageOf(store, operator).bytes)
    // A lower setting takes effect with the next version.
    await add(tasks, operator, learned('d8', file(10)), 1)
    assert.deepEqual(numbers(tasks), [2, 3, 8])
    await tasks.put(operator, 'a', 'd9', file(10), anyVersion)
    assert.deepEqual(numbers(tasks), [3, 8, 9])
    assert.deepEqual(tasks.active(operator, 'a'), { digest: 'd9' })
    await store.close()
  })

  test('never get the number of a deleted one', async () => {
    const { store, tasks } = await openStore()
    for (const digest of ['d1', 'd2', 'd3']) await tasks.put(operator, 'a', digest, file(10), anyVersion)
    await tasks.activate(operator, 'a', 1, anyVersion)
    await tasks.startTrial(operator, 'a', 3, 0.5, anyVersion)
    await assert.rejects(tasks.deleteVersion(operator, 'a', 1, anyVersion), { code: 'version_in_use' })
    assert.equal((await tasks.deleteVersion(operator, 'a', 3, anyVersion)).digest, 'd3')
    assert.deepEqual(tasks.active(operator, 'a'), { digest: 'd1' })
    assert.equal(tasks.digestOf(operator, 'a', 3), undefined)
    await assert.rejects(tasks.activate(operator, 'a', 3, anyVersion), { code: 'unknown_version' })
    await assert.rejects(tasks.deleteVersion(operator, 'a', 3, anyVersion), { code: 'unknown_version' })
    assert.equal(await add(tasks, operator, learned('d3', file(10))), 4)
    assert.deepEqual(numbers(tasks), [1, 2, 4])
    assert.deepEqual(
      [...store.range('history', recordsIn('a'))].map(([key]) => key),
      ['a/00000001', 'a/00000002', 'a/00000004'],
    )
    assert.equal(storedBytes(tasks), 30)
    assert.deepEqual(usageOf(store, operator), { tasks: 1, bytes: 30, examples: 0 })
    await store.close()
  })

  test('of a task that an earlier version of the program stored begin with its file', async () => {
    const directory = await temporaryDirectory()
    const old = LmdbStore.open(directory)
    await old.change((records) => {
      records.put('versions', 'a', Buffer.from('d1'))
      records.put('files', 'a', file(10))
      records.put('usage', operator, Buffer.from(JSON.stringify({ tasks: 1, bytes: 10, examples: 0 })))
    })
    const tasks = await TaskStore.open(old)
    const first = { number: 1, digest: 'd1', bytes: 10, created: null, by: null, source: { kind: 'upload' } }
    assert.deepEqual(tasks.versions(operator, 'a'), [first])
    assert.deepEqual(tasks.version(operator, 'a', 1), first)
    assert.equal(tasks.digestOf(operator, 'a', 1), 'd1')
    assert.equal(tasks.digestOf(operator, 'a', 2), undefined)
    assert.equal(tasks.file(operator, 'a', 'd1')?.byteLength, 10)
    assert.deepEqual(await tasks.activate(operator, 'a', 1, anyVersion), { before: 'd1', after: 'd1' })
    await assert.rejects(tasks.deleteVersion(operator, 'a', 1, anyVersion), { code: 'version_in_use' })
    await tasks.put(operator, 'a', 'd2', file(20), anyVersion)
    assert.deepEqual(tasks.versions(operator, 'a')[0], first)
    assert.deepEqual(numbers(tasks), [1, 2])
    await tasks.activate(operator, 'a', 1, anyVersion)
    assert.equal(tasks.file(operator, 'a')?.byteLength, 10)
    assert.deepEqual(usageOf(old, operator), { tasks: 1, bytes: 30, examples: 0 })
    await tasks.delete(operator, 'a', anyVersion)
    assert.deepEqual(usageOf(old, operator), { tasks: 0, bytes: 0, examples: 0 })
    await old.close()
  })

  test('go on after a program that knows no history has replaced the file: the lost version is gone', async () => {
    const { store, tasks, tenants } = await openStore()
    const acme = await newTenant(tenants, 'acme')
    await tasks.put(acme, 'a', 'd1', file(10), anyVersion)
    await add(tasks, acme, learned('d2', file(20), { report: { a: 1 } }))
    await tasks.activate(acme, 'a', 2, anyVersion)
    // As earlier versions wrote it.
    await store.change((records) => {
      records.put('versions', '~acme/a', Buffer.from('d3'))
      records.put('files', '~acme/a', file(25))
      const { bytes, ...usage } = usageOf(records, 'acme')
      records.put('usage', 'acme', Buffer.from(JSON.stringify({ ...usage, bytes: bytes + 25 - 20 })))
    })
    assert.equal(tasks.digestOf('acme', 'a', 3), 'd3')
    assert.deepEqual(tasks.version('acme', 'a', 3)?.by, null)
    assert.deepEqual(numbers(tasks, 'acme'), [1, 2, 3])
    await assert.rejects(tasks.activate(acme, 'a', 2, anyVersion), { code: 'unknown_version' })
    await tasks.activate(acme, 'a', 1, anyVersion)
    assert.deepEqual(numbers(tasks, 'acme'), [1, 3])
    assert.equal(tasks.file('acme', 'a', 'd3')?.byteLength, 25)
    assert.equal(tenants.usage('acme').bytes, 35)
    assert.equal(storedBytes(tasks), 35)
    await tasks.delete(acme, 'a', anyVersion)
    assert.equal(tenants.usage('acme').bytes, 0)
    await store.close()
  })

  test('can be stored while none is active, and one of them can be activated', async () => {
    const { store, tasks } = await openStore()
    // A task with examples only counts as a task already.
    await store.change((records) => {
      records.put('datasets', 'a', Buffer.from('{}'))
      records.put('usage', operator, Buffer.from(JSON.stringify({ tasks: 1, bytes: 0, examples: 0 })))
    })
    await add(tasks, operator, learned('d1', file(10)))
    assert.equal(tasks.digest(operator, 'a'), undefined)
    assert.deepEqual(numbers(tasks), [1])
    await assert.rejects(tasks.startTrial(operator, 'a', 1, 'shadow', anyVersion), { code: 'no_version' })
    assert.deepEqual(await tasks.activate(operator, 'a', 1, anyVersion), { before: undefined, after: 'd1' })
    assert.equal(tasks.file(operator, 'a')?.byteLength, 10)
    assert.deepEqual(usageOf(store, operator), { tasks: 1, bytes: 10, examples: 0 })
    await store.close()
  })

  test('make room for a new one if the quota of bytes is full, and reject it if that is not enough', async () => {
    const { store, tasks, tenants } = await openStore()
    const acme = await newTenant(tenants, 'acme', { bytes: 100 })
    for (const digest of ['d1', 'd2', 'd3', 'd4']) await tasks.put(acme, 'a', digest, file(30), anyVersion)
    assert.deepEqual(numbers(tasks, 'acme'), [2, 3, 4])
    await assert.rejects(add(tasks, acme, learned('d5', file(71))), { code: 'quota_exceeded' })
    assert.deepEqual(numbers(tasks, 'acme'), [2, 3, 4])
    await add(tasks, acme, learned('d5', file(70)))
    assert.deepEqual(numbers(tasks, 'acme'), [4, 5])
    assert.throws(() => tasks.checkRoom(acme, 'a', 101), { code: 'quota_exceeded' })
    tasks.checkRoom(acme, 'a', 100)
    await tasks.put(acme, 'a', 'd6', file(100), anyVersion)
    assert.deepEqual(numbers(tasks, 'acme'), [6])
    assert.deepEqual(tenants.usage('acme'), { tasks: 1, bytes: 100, examples: 0 })
    await store.close()
  })

  test('count their reports in the quota of bytes, and keep none that is too large', async () => {
    const { store, tasks } = await openStore()
    await add(tasks, operator, learned('d1', file(10), { report: { a: 1 } }))
    await add(tasks, operator, learned('d2', file(10), { report: { long: 'x'.repeat(maxReportBytes) } }))
    assert.deepEqual(usageOf(store, operator), { tasks: 1, bytes: 27, examples: 0 })
    assert.equal(tasks.report(operator, 'a', 2), undefined)
    await tasks.delete(operator, 'a', anyVersion)
    assert.deepEqual(usageOf(store, operator), { tasks: 0, bytes: 0, examples: 0 })
    for (const table of tables) assert.equal(store.count(table), table === 'usage' ? 1 : 0, table)
    await store.close()
  })

  test('of one tenant are invisible to others, and are removed with it', async () => {
    const { store, tasks, tenants } = await openStore()
    const [acme, beta] = [await newTenant(tenants, 'acme'), await newTenant(tenants, 'beta')]
    for (const by of [acme, beta, operator] as const)
      for (const digest of ['d1', 'd2']) await tasks.put(by, 'a', digest, file(10), anyVersion)
    await add(tasks, acme, learned('d3', file(10), { report: {} }))
    assert.equal(tasks.digestOf('beta', 'a', 3), undefined)
    assert.equal(tasks.file('beta', 'a', 'd3'), undefined)
    const { leaving } = await tenants.close('acme')
    const removed: number[] = []
    for await (const count of tasks.clear(leaving)) removed.push(count)
    assert.equal(
      removed.reduce((a, b) => a + b),
      1,
    )
    assert.deepEqual(numbers(tasks, 'acme'), [])
    for (const table of ['versions', 'files', 'history', 'kept', 'reports'] as const)
      for (const [key] of store.range(table)) assert.ok(!key.startsWith('~acme/'), key)
    for (const owner of ['beta', operator]) {
      assert.deepEqual(numbers(tasks, owner), [1, 2])
      assert.equal(tasks.file(owner, 'a', 'd1')?.byteLength, 10)
    }
    await store.close()
  })
})

describe('the candidate of a task', () => {
  test('counts comparisons while it is the candidate, and starts at 0 in the next trial', async () => {
    const { store, tasks } = await openStore()
    for (const digest of ['d1', 'd2', 'd3']) await tasks.put(operator, 'a', digest, file(10), anyVersion)
    const { before, after } = await tasks.startTrial(operator, 'a', 1, 'shadow', anyVersion)
    assert.deepEqual(
      [before, after],
      [{ digest: 'd3' }, { digest: 'd3', candidate: { digest: 'd1', trial: 'shadow' } }],
    )
    assert.deepEqual(tasks.active(operator, 'a'), after)
    assert.equal(tasks.list(operator, '', 1)[0]?.digest, 'd3')
    const count = (digest: string) =>
      store.change((records) => countComparisons(records, operator, 'a', digest, { compared: 5, differ: 2 }))
    await count('d1')
    await count('d1')
    await count('d2')
    await count('d3')
    const { since, ...counts } = tasks.version(operator, 'a', 1)?.trial ?? assert.fail()
    assert.ok(Date.now() - Date.parse(since) < 60_000)
    assert.deepEqual(counts, { compared: 10, differ: 4 })
    assert.equal(tasks.version(operator, 'a', 2)?.trial, undefined)
    await tasks.startTrial(operator, 'a', 1, 0.25, anyVersion)
    assert.deepEqual(tasks.active(operator, 'a')?.candidate, { digest: 'd1', trial: 0.25 })
    assert.equal(tasks.version(operator, 'a', 1)?.trial?.compared, 0)
    await store.close()
  })

  test('is ended by the active version, by an activation and by an upload', async () => {
    const { store, tasks } = await openStore()
    for (const digest of ['d1', 'd2', 'd3']) await tasks.put(operator, 'a', digest, file(10), anyVersion)
    const ends: (() => Promise<unknown>)[] = [
      () => tasks.startTrial(operator, 'a', 3, 'shadow', anyVersion),
      () => tasks.activate(operator, 'a', 3, anyVersion),
      () => tasks.put(operator, 'a', 'd3', file(10), anyVersion),
    ]
    for (const end of ends) {
      await tasks.startTrial(operator, 'a', 2, 1e-9, anyVersion)
      assert.deepEqual(tasks.active(operator, 'a')?.candidate, { digest: 'd2', trial: 1e-9 })
      await end()
      assert.deepEqual(tasks.active(operator, 'a'), { digest: 'd3' })
    }
    await store.close()
  })

  test('and the active version change only if the precondition allows it, and only for the same tenant', async () => {
    const { store, tasks, tenants } = await openStore()
    const acme = await newTenant(tenants, 'acme')
    for (const digest of ['d1', 'd2']) await tasks.put(acme, 'a', digest, file(10), anyVersion)
    const failing = () => {
      throw new Error('another version')
    }
    const { leaving } = await tenants.close('acme')
    await tenants.forget(leaving)
    await newTenant(tenants, 'acme')
    const changes = [
      () => tasks.activate(acme, 'a', 1, anyVersion),
      () => tasks.startTrial(acme, 'a', 1, 'shadow', anyVersion),
      () => tasks.deleteVersion(acme, 'a', 1, anyVersion),
    ]
    for (const change of changes) await assert.rejects(change(), ({ code }: Problem) => code === 'unknown_tenant')
    await tasks.put(operator, 'a', 'd1', file(10), anyVersion)
    await tasks.put(operator, 'a', 'd2', file(10), anyVersion)
    await assert.rejects(tasks.activate(operator, 'a', 1, failing), /another version/)
    await assert.rejects(tasks.startTrial(operator, 'a', 1, 0.5, failing), /another version/)
    await assert.rejects(tasks.deleteVersion(operator, 'a', 1, failing), /another version/)
    assert.equal(store.get('versions', taskKey(operator, 'a'))?.toString(), 'd2')
    await store.close()
  })
})
