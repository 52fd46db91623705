// Faults of the disk under a store: what callers get for a change, and whether the change was made.

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { LmdbStore } from '../../src/store/lmdb.js'
import { temporaryDirectory } from '../material.js'
import { withoutPreload } from '../native-faults/library.js'
import { StorageFaults } from '../native-faults/storage-faults.js'
import type { Command } from './store-process.js'

const script = fileURLToPath(new URL('./store-process.js', import.meta.url))

async function failingStore() {
  const directory = await temporaryDirectory()
  const faults = await StorageFaults.on(join(directory, 'tasks.lmdb'))
  // lmdb writes to standard error, which these tests ignore.
  const child = fork(script, [directory], {
    env: { ...process.env, ...faults.env },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  // A test that fails must not keep the process alive.
  after(() => child.kill('SIGKILL'))
  await once(child, 'message')
  const run = (command: Command) => resultOf(child, command)
  return {
    faults,
    put: (key: string, bytes = 20_000) => run({ command: 'put', key, bytes }),
    get: (key: string) => run({ command: 'get', key }),
    failure: () => run({ command: 'failure' }),
    async untilIntact() {
      while ((await run({ command: 'failure' })) !== undefined) await delay(20)
    },
    /** Kills the process and opens the store, as a restart would. */
    async killed() {
      child.kill('SIGKILL')
      await once(child, 'exit')
      faults.close()
      return LmdbStore.open(directory)
    },
  }
}

async function resultOf(child: ChildProcess, command: Command): Promise<string | undefined> {
  child.send(command)
  const [[result]] = (await once(child, 'message')) as [[string | null]]
  return result ?? undefined
}

describe('a store whose disk fails', { skip: withoutPreload, timeout: 60_000 }, () => {
  test('does not make a change whose flush fails, and accepts none until the disk flushes again', async () => {
    const { faults, put, get, failure, untilIntact, killed } = await failingStore()
    assert.equal(await put('before'), undefined)
    faults.set({ kind: 'fail', error: 'EIO' }, { calls: ['flush'] })
    assert.equal(await put('failed'), 'storage_failed')
    assert.match(
      (await failure()) ?? '',
      /tasks\.lmdb may not be sound: input\/output error \(EIO\); the disk or the connection to it fails/,
    )
    for (let i = 0; i < 5; i++) assert.equal(await put('rejected'), 'storage_unavailable')
    assert.deepEqual(
      [await get('failed'), await get('rejected'), await get('before')],
      [undefined, undefined, 'before'],
    )
    faults.count()
    await untilIntact()
    assert.ok(faults.calls >= 3, 'the store was verified with a write')
    assert.equal(await put('after'), undefined)
    const store = await killed()
    const found = ['before', 'failed', 'rejected', 'after'].map((key) => store.get('files', key)?.byteLength)
    assert.deepEqual(found, [20_000, undefined, undefined, 20_000])
    await store.close()
  })

  test('reports for each failed write and flush whether the change was made, and shows what a restart finds', async () => {
    const { faults, put, get, untilIntact, killed } = await failingStore()
    const outcomes: (string | undefined)[] = []
    const seen = new Map<string, string | undefined>()
    assert.equal(await put('t'), undefined)
    for (let call = 1; outcomes.length === 0 || faults.faults > 0; call++) {
      assert.ok(call < 50)
      const key = `t${call}`
      faults.set({ kind: 'fail', error: 'EIO' }, { calls: ['write', 'flush'], first: call, times: 1 })
      outcomes.push(await put(key))
      assert.equal(await get('t'), 't')
      seen.set(key, await get(key))
      await untilIntact()
    }
    // The last call writes the page that makes the others valid. Only after its failure is the outcome unknown.
    assert.deepEqual(outcomes.slice(-2), ['outcome_unknown', undefined])
    assert.ok(outcomes.length > 3 && outcomes.slice(0, -2).every((code) => code === 'storage_failed'), outcomes.join())
    const store = await killed()
    for (const [key, value] of seen) assert.equal(store.get('files', key)?.toString('utf8', 0, key.length), value)
    assert.equal([...seen.values()].filter((value) => value !== undefined).length, 1)
    await store.close()
  })

  test('stays intact if the disk is only full', async () => {
    const { faults, put, failure, killed } = await failingStore()
    for (const error of ['ENOSPC', 'EDQUOT'] as const) {
      faults.set({ kind: 'fail', error }, { calls: ['write'], times: 1 })
      assert.equal(await put('full'), 'storage_failed')
      assert.equal(await failure(), undefined)
      assert.equal(await put(error), undefined)
    }
    const store = await killed()
    assert.deepEqual([store.get('files', 'full'), store.get('files', 'EDQUOT')?.byteLength], [undefined, 20_000])
    await store.close()
  })

  test('survives writes that are made only in part', async () => {
    const { faults, put, get, untilIntact, killed } = await failingStore()
    for (let call = 1; call === 1 || faults.faults > 0; call++) {
      faults.set({ kind: 'shorten' }, { calls: ['write'], first: call, times: 1 })
      const code = await put(`t${call}`)
      assert.equal(await get(`t${call}`), code === undefined ? `t${call}` : undefined)
      await untilIntact()
    }
    await (await killed()).close()
  })

  test('gives up a change that hangs, and accepts others once it has ended', async () => {
    const { faults, put, get, failure, untilIntact, killed } = await failingStore()
    faults.set({ kind: 'delay', delayMs: 600_000 }, { calls: ['flush'] })
    assert.equal(await put('hung'), 'outcome_unknown')
    assert.match((await failure()) ?? '', /hangs: the disk does not respond/)
    assert.equal(await put('rejected'), 'storage_unavailable')
    faults.count()
    await untilIntact()
    assert.equal(await get('hung'), 'hung')
    assert.equal(await put('after'), undefined)
    await (await killed()).close()
  })
})
