// What is told of a change when the disk fails under it, and what is true of it then.

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
import type { Ask } from './store-process.js'

const script = fileURLToPath(new URL('./store-process.js', import.meta.url))

async function failingStore() {
  const directory = await temporaryDirectory()
  const faults = await StorageFaults.on(join(directory, 'tasks.lmdb'))
  // What lmdb says on standard error is not looked at.
  const child = fork(script, [directory], {
    env: { ...process.env, ...faults.env },
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
  })
  // A test that fails must not keep the process alive.
  after(() => child.kill('SIGKILL'))
  await once(child, 'message')
  const ask = (what: Ask) => answerOf(child, what)
  return {
    faults,
    put: (key: string, bytes = 20_000) => ask({ ask: 'put', key, bytes }),
    get: (key: string) => ask({ ask: 'get', key }),
    failure: () => ask({ ask: 'failure' }),
    async sound() {
      while ((await ask({ ask: 'failure' })) !== undefined) await delay(20)
    },
    /** What a restart finds. */
    async killed() {
      child.kill('SIGKILL')
      await once(child, 'exit')
      faults.close()
      return LmdbStore.open(directory)
    },
  }
}

async function answerOf(child: ChildProcess, what: Ask): Promise<string | undefined> {
  child.send(what)
  const [[answer]] = (await once(child, 'message')) as [[string | null]]
  return answer ?? undefined
}

describe('a store whose disk fails', { skip: withoutPreload, timeout: 60_000 }, () => {
  test('does not make the change whose flush fails, and takes none until the disk flushes again', async () => {
    const { faults, put, get, failure, sound, killed } = await failingStore()
    assert.equal(await put('before'), undefined)
    faults.set({ kind: 'fail', error: 'EIO' }, { calls: ['flush'] })
    assert.equal(await put('failed'), 'storage_failed')
    assert.match((await failure()) ?? '', /tasks\.lmdb may not be sound: input\/output error \(EIO\); the disk or the connection to it fails/)
    for (let i = 0; i < 5; i++) assert.equal(await put('refused'), 'storage_unavailable')
    assert.deepEqual([await get('failed'), await get('refused'), await get('before')], [undefined, undefined, 'before'])
    faults.count()
    await sound()
    assert.ok(faults.calls >= 3, 'it was written to before it counted as sound')
    assert.equal(await put('after'), undefined)
    const store = await killed()
    const found = ['before', 'failed', 'refused', 'after'].map((key) => store.get('files', key)?.byteLength)
    assert.deepEqual(found, [20_000, undefined, undefined, 20_000])
    await store.close()
  })

  test('tells of each write and flush that fails whether the change was made, and shows what a restart finds', async () => {
    const { faults, put, get, sound, killed } = await failingStore()
    const told: (string | undefined)[] = []
    const seen = new Map<string, string | undefined>()
    assert.equal(await put('t'), undefined)
    for (let call = 1; told.length === 0 || faults.faults > 0; call++) {
      assert.ok(call < 50)
      const key = `t${call}`
      faults.set({ kind: 'fail', error: 'EIO' }, { calls: ['write', 'flush'], first: call, times: 1 })
      told.push(await put(key))
      assert.equal(await get('t'), 't')
      seen.set(key, await get(key))
      await sound()
    }
    // The last call is the page that makes the others count: only then nobody can know.
    assert.deepEqual(told.slice(-2), ['outcome_unknown', undefined])
    assert.ok(told.length > 3 && told.slice(0, -2).every((code) => code === 'storage_failed'), told.join())
    const store = await killed()
    for (const [key, value] of seen) assert.equal(store.get('files', key)?.toString('utf8', 0, key.length), value)
    assert.equal([...seen.values()].filter((value) => value !== undefined).length, 1)
    await store.close()
  })

  test('stays sound where it only has no room', async () => {
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

  test('survives writes of which only a part is made', async () => {
    const { faults, put, get, sound, killed } = await failingStore()
    for (let call = 1; call === 1 || faults.faults > 0; call++) {
      faults.set({ kind: 'shorten' }, { calls: ['write'], first: call, times: 1 })
      const code = await put(`t${call}`)
      assert.equal(await get(`t${call}`), code === undefined ? `t${call}` : undefined)
      await sound()
    }
    await (await killed()).close()
  })

  test('gives up a change that does not end, and takes others once it has ended', async () => {
    const { faults, put, get, failure, sound, killed } = await failingStore()
    faults.set({ kind: 'delay', delayMs: 600_000 }, { calls: ['flush'] })
    assert.equal(await put('hung'), 'outcome_unknown')
    assert.match((await failure()) ?? '', /hangs: the disk does not respond/)
    assert.equal(await put('refused'), 'storage_unavailable')
    faults.count()
    await sound()
    assert.equal(await get('hung'), 'hung')
    assert.equal(await put('after'), undefined)
    await (await killed()).close()
  })
})
