import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, mkdir, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { digestOf } from '../../src/formats/digest.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { shiftedTask, taskBytes, temporaryDirectory } from '../material.js'
import { withoutPreload } from '../native-faults/library.js'
import { StorageFaults } from '../native-faults/storage-faults.js'
import { cli, predict, predictionOf, put, serve } from '../server-process.js'
import { smallDisk } from '../small-disk.js'

const sst2 = taskBytes('sst2')

function backup(file: string, dataDir: string, wrapper: readonly string[] = [], environment: object = {}) {
  const env = { PATH: process.env.PATH, ...environment }
  const [program = '', ...args] = [...wrapper, process.execPath, cli, 'backup', file, '--data-dir', dataDir]
  return new Promise<{ code: unknown; output: string }>((resolve) => {
    execFile(program, args, { env }, (error, stdout, stderr) =>
      resolve({ code: error === null ? 0 : error.code, output: stdout + stderr }),
    )
  })
}

describe('propetl backup', () => {
  test('a backup of a running server contains all uploads that were acknowledged before it', async () => {
    const [dataDir, backups] = await Promise.all([temporaryDirectory(), temporaryDirectory()])
    const { url } = await serve(dataDir)
    for (let i = 0; i < 20; i++) assert.equal((await put(url, `t${i}`, shiftedTask(sst2, i))).status, 201)
    let running = true
    const uploadUntilEnd = async () => {
      for (let round = 0; running; round++)
        assert.ok([200, 201].includes((await put(url, `busy${round % 30}`, shiftedTask(sst2, round))).status))
    }
    const uploads = [uploadUntilEnd(), uploadUntilEnd()]
    const files = [1, 2, 3].map((at) => join(backups, `${at}.lmdb`))
    for (const file of files) {
      const { code, output } = await backup(file, dataDir)
      assert.equal(code, 0, output)
    }
    running = false
    await Promise.all(uploads)
    assert.deepEqual((await readdir(backups)).sort(), ['1.lmdb', '2.lmdb', '3.lmdb'])

    for (const file of files) {
      const restored = join(await temporaryDirectory(), 'data')
      await mkdir(restored)
      await copyFile(file, join(restored, 'tasks.lmdb'))
      const restarted = await serve(restored)
      for (let i = 0; i < 20; i++)
        assert.equal(
          (await predictionOf(await predict(restarted.url, `t${i}`))).version,
          digestOf(shiftedTask(sst2, i)),
        )
      const { tasks } = (await (await fetch(`${restarted.url}/tasks?limit=1000`)).json()) as {
        tasks: { id: string; version: string }[]
      }
      for (const { id, version } of tasks) {
        const bytes = await (await fetch(`${restarted.url}/tasks/${id}/file`)).arrayBuffer()
        assert.equal(digestOf(new Uint8Array(bytes)), version)
      }
      assert.equal((await put(restarted.url, 'new', sst2)).status, 201)
      restarted.process.kill('SIGTERM')
      await restarted.exit
    }
  })

  test('rejects an existing output file, a missing data directory, and the mirror of a database', async () => {
    const directory = await temporaryDirectory()
    const file = join(directory, 'there.lmdb')
    await writeFile(file, 'something else')
    for (const [path, dataDir, environment, exitCode, message] of [
      [join(directory, 'new.lmdb'), join(directory, 'none'), {}, 2, /there is no .*none\/tasks\.lmdb/],
      [file, directory, {}, 1, /there\.lmdb already exists/],
      [
        join(directory, 'new.lmdb'),
        directory,
        { PROPETL_DATABASE_URL: 'postgres://a@b/c' },
        2,
        /PROPETL_DATABASE_URL is set, .*back up the database instead/,
      ],
    ] as const) {
      const rejected = await backup(path, dataDir, [], environment)
      assert.equal(rejected.code, exitCode)
      assert.match(rejected.output, message)
    }
    assert.deepEqual(await readdir(directory), ['there.lmdb'])
  })

  test('a backup succeeds only if the file and its name are on the disk, and only its owner can read it', {
    skip: withoutPreload,
  }, async () => {
    const [dataDir, backups] = await Promise.all([temporaryDirectory(), temporaryDirectory()])
    const store = LmdbStore.open(dataDir)
    await store.change((records) => records.put('files', 'a', Buffer.alloc(50_000)))
    await store.close()
    const file = join(backups, 'backup.lmdb')
    const faults = await StorageFaults.on(backups)
    let flushes = 0
    for (; ; flushes++) {
      faults.set({ kind: 'fail', error: 'EIO' }, { calls: ['flush'], first: flushes + 1, times: 1 })
      const { code, output } = await backup(file, dataDir, [], faults.env)
      if (code === 0) break
      assert.match(
        output,
        /backup\.lmdb cannot be written: input\/output error \(EIO\); the disk or the connection to it fails/,
      )
      assert.deepEqual(await readdir(backups), [])
    }
    assert.ok(flushes >= 2, 'the file and the directory are flushed')
    assert.equal((await stat(file)).mode & 0o777, 0o600)
    faults.close()
  })

  test('a backup on a full disk says so and leaves no file', async () => {
    const [dataDir, disk] = await Promise.all([temporaryDirectory(), smallDisk()])
    const { url, process: child, exit } = await serve(dataDir)
    for (let i = 0; i < 200; i++) assert.equal((await put(url, `t${i}`, shiftedTask(sst2, i))).status, 201)
    child.kill('SIGTERM')
    await exit
    const before = await readdir(disk.directory)
    const { code, output } = await backup(join(disk.directory, 'backup.lmdb'), dataDir, disk.wrapper)
    assert.equal(code, 1)
    assert.match(
      output,
      /backup\.lmdb cannot be written: (no space left on device \(ENOSPC\); free space|File too large)/,
    )
    assert.deepEqual(await readdir(disk.directory), before)
  })
})
