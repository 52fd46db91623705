// A store whose files are removed, replaced or overwritten, and the permissions of the files that it creates.

import assert from 'node:assert/strict'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, copyFileSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs'
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { LmdbStore } from '../../src/store/lmdb.js'
import { KeyedAccess } from '../../src/tenants/access.js'
import { Keys } from '../../src/tenants/keys.js'
import { operator } from '../../src/tenants/tenant.js'
import { temporaryDirectory } from '../material.js'
import type { Command } from './store-process.js'

const forever = { expires: null, description: null }

async function logged() {
  const directory = join(await temporaryDirectory(), 'data')
  const lines: string[] = []
  const log = pino({}, { write: (line) => void lines.push(line) })
  const store = LmdbStore.open(directory, { log, checkIntervalMs: 20 })
  const put = (key: string) => store.change((records) => records.put('files', key, Buffer.from(key)))
  await put('a')
  return { directory, path: join(directory, 'tasks.lmdb'), lines, log, store, put }
}

const unavailable = { code: 'storage_unavailable' }

describe('a store', () => {
  const faults: Record<string, (directory: string, path: string) => void> = {
    'whose directory is removed': (directory) => rmSync(directory, { recursive: true }),
    'whose file is removed': (_directory, path) => rmSync(path),
    'whose lock file is removed': (_directory, path) => rmSync(`${path}-lock`),
    'whose file is replaced': (_directory, path) => {
      copyFileSync(path, `${path}.new`)
      renameSync(`${path}.new`, path)
    },
  }
  for (const [what, cause] of Object.entries(faults))
    test(`${what} accepts no changes, and does not return the old records`, async () => {
      const { directory, path, lines, store, put } = await logged()
      cause(directory, path)
      await assert.rejects(put('b'), unavailable)
      assert.throws(() => store.get('files', 'a'), unavailable)
      assert.throws(() => [...store.range('files')], unavailable)
      assert.throws(() => store.count('files'), unavailable)
      assert.match(store.failure ?? '', /tasks\.lmdb(-lock)? (is gone|was replaced by another file); stop the server/)
      await assert.rejects(put('c'), unavailable)
      assert.equal(lines.filter((line) => line.includes('"level":50')).length, 1)
      await store.close()
    })

  test('notices by itself that its directory was moved, and continues once the directory is back', async () => {
    const { directory, lines, store, put } = await logged()
    renameSync(directory, `${directory}.away`)
    while (store.failure === undefined) await delay(5)
    assert.throws(() => store.get('files', 'a'), unavailable)
    renameSync(`${directory}.away`, directory)
    while (store.failure !== undefined) await delay(5)
    assert.equal(store.get('files', 'a')?.toString(), 'a')
    await put('b')
    assert.match(lines.at(-1) ?? '', /in its place again/)
    await store.close()
  })

  test('that another program has overwritten is never trusted again, whatever its later content', async () => {
    const { path, store, put } = await logged()
    const older = readFileSync(path)
    for (let i = 0; i < 3; i++) await put(`b${i}`)
    const newer = readFileSync(path)
    const overwrite = (bytes: Buffer) => {
      const file = openSync(path, 'r+')
      writeSync(file, bytes, 0, bytes.byteLength, 0)
      closeSync(file)
    }
    overwrite(older)
    await assert.rejects(put('c'), unavailable)
    assert.match(store.failure ?? '', /was overwritten by another program/)
    overwrite(newer)
    await assert.rejects(put('c'), unavailable)
    await store.close()
  })

  test('never accepts a revoked key again', async () => {
    const { path, store } = await logged()
    const keys = new Keys(store)
    const { text } = await keys.create(operator, forever)
    const { key } = await keys.create(operator, forever)
    const { key: revoked, text: revokedText } = await keys.create(operator, forever)
    const access = new KeyedAccess(store, { operatorKey: undefined, mayBeOpen: true })
    copyFileSync(path, `${path}.backup`)
    // A backup is restored under the running server, and then changed by a command.
    renameSync(`${path}.backup`, path)
    const command = LmdbStore.open(join(path, '..'))
    await new Keys(command).revoke(operator, revoked.id)
    await command.close()
    while (store.failure === undefined) await delay(5)
    for (const any of [revokedText, text, 'no key']) assert.throws(() => access.identify(`Bearer ${any}`), unavailable)
    assert.throws(() => access.identify(undefined), unavailable)
    const withKey = new KeyedAccess(store, { operatorKey: 'k'.repeat(32), mayBeOpen: false })
    assert.equal(withKey.identify(`Bearer ${'k'.repeat(32)}`).owner, operator)
    assert.notEqual(key.id, revoked.id)
    await store.close()
  })

  test('creates files that only its user can read, and warns about files that everybody can read', async () => {
    const { directory, path, lines, log, store } = await logged()
    const modes = () => [directory, path, `${path}-lock`].map((file) => (statSync(file).mode & 0o777).toString(8))
    assert.deepEqual(modes(), ['700', '600', '600'])
    await store.close()
    assert.deepEqual(lines, [])
    await Promise.all([chmod(directory, 0o755), chmod(path, 0o644)])
    await LmdbStore.open(directory, { log }).close()
    assert.match(lines.join(''), /"level":40.*every user of the machine can read the store; run chmod o-rwx/)
    assert.deepEqual(modes(), ['755', '644', '600'])
  })

  test('logs which other processes use its files', async () => {
    const { directory, lines, log, store } = await logged()
    await store.close()
    const other = fork(fileURLToPath(new URL('./store-process.js', import.meta.url)), [directory])
    await once(other, 'message')
    other.send({ command: 'get', key: 'a' } satisfies Command)
    await once(other, 'message')
    await LmdbStore.open(directory, { log }).close()
    assert.deepEqual(
      lines.map((line) => (JSON.parse(line) as { processes: unknown }).processes),
      [[other.pid]],
    )
    other.kill('SIGKILL')
    await once(other, 'exit')
    await LmdbStore.open(directory, { log }).close()
    assert.equal(lines.length, 1)
  })

  test('allocates the whole lock file when it creates it', async () => {
    const directory = await temporaryDirectory()
    await mkdir(join(directory, 'data'))
    const store = LmdbStore.open(join(directory, 'data'))
    const { size, blocks } = statSync(join(directory, 'data/tasks.lmdb-lock'))
    assert.ok(blocks * 512 >= size, `${blocks} blocks of ${size} bytes`)
    await store.close()
  })
})
