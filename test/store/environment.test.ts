// Opening lmdb files that are intact, damaged, incomplete or from another version.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { copyFile, open, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, test } from 'node:test'
import { open as openLmdb } from 'lmdb'
import { pino } from 'pino'
import { Problem } from '../../src/problem.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { Mirror } from '../../src/store/mirror.js'
import { root, temporaryDirectory } from '../material.js'

describe('a database file', () => {
  let intact: string
  before(async () => {
    const directory = await temporaryDirectory()
    const store = LmdbStore.open(directory)
    for (let i = 0; i < 40; i++) await store.change((records) => records.put('files', `t${i}`, Buffer.alloc(5_000, i)))
    await store.close()
    intact = join(directory, 'tasks.lmdb')
  })

  const damages: Record<string, (path: string) => Promise<unknown>> = {
    'starts with garbage': async (path) => {
      const file = await open(path, 'r+')
      await file.write(Buffer.alloc(200, 'garbage '))
      await file.close()
    },
    'is garbage': (path) => writeFile(path, Buffer.alloc(100_000, 'garbage ')),
    'is another file': (path) => copyFile(join(root, 'LICENSE'), path),
    'lost its end': (path) => truncate(path, 60_000),
    'lost all but its start': (path) => truncate(path, 100),
  }
  for (const [what, damage] of Object.entries(damages))
    test(`that ${what} is rejected with its path, and left unchanged`, async () => {
      const directory = await temporaryDirectory()
      const path = join(directory, 'tasks.lmdb')
      await copyFile(intact, path)
      await damage(path)
      const before = readFileSync(path)
      assert.throws(() => LmdbStore.open(directory), {
        code: 'storage_damaged',
        message: new RegExp(`the database ${path} is damaged: .*restore it from a backup`),
      })
      assert.ok(before.equals(readFileSync(path)))
    })

  test('that is intact or empty is opened', async () => {
    const directory = await temporaryDirectory()
    await copyFile(intact, join(directory, 'tasks.lmdb'))
    const store = LmdbStore.open(directory)
    assert.deepEqual([store.count('files'), store.get('files', 't7')?.[0]], [40, 7])
    await store.close()
    const other = await temporaryDirectory()
    await writeFile(join(other, 'tasks.lmdb'), '')
    const empty = LmdbStore.open(other)
    assert.equal(empty.count('files'), 0)
    await empty.close()
  })

  test('whose creation was interrupted is created again', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, 'tasks.lmdb')
    const fresh = openLmdb({ path, overlappingSync: false })
    await fresh.close()
    const begin = readFileSync(path)
    for (const left of [begin.subarray(0, 4_096), Buffer.alloc(4_096), Buffer.alloc(8_192)]) {
      await writeFile(path, left)
      const store = LmdbStore.open(directory)
      await store.change((records) => records.put('files', 'x', Buffer.from('y')))
      assert.equal(store.get('files', 'x')?.toString(), 'y')
      await store.close()
    }
    await writeFile(path, Buffer.alloc(8_193))
    assert.throws(() => LmdbStore.open(directory), { code: 'storage_damaged' })
  })

  test('of a later schema is rejected with both numbers; one without a number gets it with the first change', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, 'tasks.lmdb')
    const written = openLmdb({ path, maxDbs: 32 })
    await written.openDB<Buffer, string>({ name: 'files', encoding: 'binary' }).put('old', Buffer.from('kept'))
    await written.close()
    const store = LmdbStore.open(directory)
    assert.equal(store.get('files', 'old')?.toString(), 'kept')
    await store.change((records) => records.put('files', 'new', Buffer.from('too')))
    await store.close()

    const later = openLmdb({ path, maxDbs: 32 })
    const about = later.openDB<Buffer, string>({ name: 'about', encoding: 'binary' })
    assert.equal(about.get('schema')?.toString(), '1')
    await about.put('schema', Buffer.from('2'))
    await later.close()
    assert.throws(() => LmdbStore.open(directory), {
      code: 'invalid_setting',
      message: new RegExp(`the database ${path} has schema 2, and this version of propetl supports schema 1`),
    })
  })

  test('whose last page is missing but free is intact', async () => {
    const directory = await temporaryDirectory()
    const path = join(directory, 'tasks.lmdb')
    const put = async (bytes: number) => {
      const store = LmdbStore.open(directory)
      await store.change((records) => records.put('files', 'x', Buffer.alloc(bytes, 1)))
      await store.close()
    }
    await put(400_000)
    // Whether the last page is free depends on which pages lmdb has reused. After a few changes it is free.
    for (let change = 0; ; change++) {
      assert.ok(change < 30, 'the last page is never free')
      await put(5_000)
      const copy = await temporaryDirectory()
      await copyFile(path, join(copy, 'tasks.lmdb'))
      // lmdb may never have written a page that was freed again.
      await truncate(join(copy, 'tasks.lmdb'), (await stat(path)).size - 4_096)
      try {
        const again = LmdbStore.open(copy)
        assert.equal(again.get('files', 'x')?.byteLength, 5_000)
        await again.close()
        return
      } catch (error) {
        if (!(error instanceof Problem)) throw error
      }
    }
  })

  test('that is a damaged mirror is rebuilt', async () => {
    const directory = await temporaryDirectory()
    await writeFile(join(directory, 'mirror.lmdb'), Buffer.alloc(100_000, 'garbage '))
    const lines: string[] = []
    const mirror = await Mirror.open(directory, pino({}, { write: (line) => void lines.push(line) }))
    assert.equal(mirror.position, undefined)
    assert.match(lines.join(''), /mirror\.lmdb is damaged.*rebuilt/)
    await mirror.close()
  })
})
