import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { digestOf } from '../../src/formats/digest.js'
import { Problem } from '../../src/problem.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { TaskStore } from '../../src/tasks/store.js'
import { operator } from '../../src/tenants/tenant.js'
import { root, temporaryDirectory } from '../material.js'
import { withoutPreload } from '../native-faults/library.js'
import { StorageFaults } from '../native-faults/storage-faults.js'

const any = () => {}
const expect = (wanted: string | undefined) => (current: string | undefined) => {
  if (current !== wanted) throw new Problem('precondition_failed', `${current} is not ${wanted}`)
}
const openTasks = (directory: string) => TaskStore.open(LmdbStore.open(directory))
const file = (text: string) => Buffer.from(text)

describe('the task store', () => {
  test('keeps its tasks over a restart', async () => {
    const directory = await temporaryDirectory()
    const store = await openTasks(directory)
    assert.equal(await store.put(operator, 'a', 'd1', file('one'), any), undefined)
    assert.equal(await store.put(operator, 'a', 'd2', file('two'), any), 'd1')
    await store.put(operator, 'b', 'd3', file('three'), any)
    await store.delete(operator, 'b', any)
    await store.store.close()
    const again = await openTasks(directory)
    assert.equal(again.digest(operator, 'a'), 'd2')
    assert.equal(Buffer.from(again.file(operator, 'a') ?? []).toString(), 'two')
    assert.equal(again.digest(operator, 'b'), undefined)
    assert.equal(again.count, 1)
    await again.store.close()
  })

  test('only one of two changes that expect the same version succeeds', async () => {
    const store = await openTasks(await temporaryDirectory())
    await store.put(operator, 'a', 'd1', file('one'), any)
    const outcomes = await Promise.allSettled([
      store.put(operator, 'a', 'd2', file('two'), expect('d1')),
      store.put(operator, 'a', 'd3', file('three'), expect('d1')),
      store.delete(operator, 'a', expect('d1')),
    ])
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['fulfilled', 'rejected', 'rejected'],
    )
    assert.equal(Buffer.from(store.file(operator, 'a') ?? []).toString(), 'two')
    await store.store.close()
  })

  test('lists ids in order, in pages', async () => {
    const store = await openTasks(await temporaryDirectory())
    for (const id of ['c', 'a', 'b', 'a-1']) await store.put(operator, id, id, file(id), any)
    const first = store.list(operator, '', 3).map(({ id }) => id)
    assert.deepEqual(first, ['a', 'a-1', 'b'])
    assert.deepEqual(
      store.list(operator, 'b', 3).map(({ id }) => id),
      ['c'],
    )
    await store.store.close()
  })

  test('has every acknowledged change after it is killed at any moment', async () => {
    await survives(await temporaryDirectory(), 8, {}, async (writer, round) => {
      await atLeast(writer, 5 + round * 3)
      writer.kill('SIGKILL')
    })
  })

  for (const when of ['before', 'halfway', 'after'] as const)
    test(`has every acknowledged change after it is killed ${when} a write or flush`, {
      skip: withoutPreload,
    }, async () => {
      const directory = await temporaryDirectory()
      const faults = await StorageFaults.on(directory)
      await survives(directory, 8, faults.env, async (writer, round) => {
        await atLeast(writer, 1)
        faults.set({ kind: 'kill', when }, { first: 7 + round })
        await once(writer, 'exit')
        faults.count()
      })
      faults.close()
    })

  test('names the directory that it cannot use', () => {
    const within = join(root, 'package.json')
    assert.throws(() => LmdbStore.open(within), { code: 'invalid_setting', message: /package\.json cannot be used/ })
  })
})

/** Repeatedly lets a process store tasks, kills it, and checks what is stored. */
async function survives(
  directory: string,
  rounds: number,
  env: NodeJS.ProcessEnv,
  kill: (writer: ChildProcess, round: number) => Promise<void>,
): Promise<void> {
  const acknowledged = new Map<string, string>()
  for (let round = 0; round < rounds; round++) {
    const writer = fork(fileURLToPath(new URL('./store-writer.js', import.meta.url)), [directory, String(round)], {
      env: { ...process.env, ...env },
    })
    const exit = once(writer, 'exit')
    writer.on('message', ([id, digest]: [string, string]) => acknowledged.set(id, digest))
    await kill(writer, round)
    assert.deepEqual(await exit, [null, 'SIGKILL'])
    const store = await openTasks(directory)
    for (const [id, digest] of acknowledged) {
      const stored = store.file(operator, id)
      assert.ok(stored, `${id} was acknowledged and is gone`)
      // A later change that was not acknowledged may be stored too, but only as a whole.
      assert.equal(store.digest(operator, id), digestOf(stored))
      assert.ok(store.digest(operator, id) === digest || Buffer.from(stored).toString().startsWith(`${id} `))
    }
    assert.equal(store.countOf(operator), store.list(operator, '', 1_000).length)
    await store.store.close()
  }
  assert.ok(acknowledged.size > rounds)
}

async function atLeast(writer: ChildProcess, messages: number): Promise<void> {
  for (let count = 0; count < messages; count++) await once(writer, 'message')
}
