// Disk faults under a server process. Each fault is caused for real.

import assert from 'node:assert/strict'
import { execFileSync, type SpawnOptions, spawnSync } from 'node:child_process'
import { chmod, copyFile, mkdir, open, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../src/formats/digest.js'
import { shiftedTask, taskBytes, temporaryDirectory } from './material.js'
import { cli, failedStart, predict, predictionOf, put, ready, referenceFlags, serve, start } from './server-process.js'
import { isRoot, smallDisk } from './small-disk.js'

const sst2 = taskBytes('sst2')
const piped: SpawnOptions = { stdio: ['ignore', 'pipe', 'pipe'] }

describe('a server whose disk', () => {
  test('is full rejects changes, continues to predict, and accepts changes once there is space', async () => {
    const disk = await smallDisk()
    const flags = await referenceFlags(disk.directory)
    const first = await ready(start(disk.wrapper, flags))
    const accepted: string[] = []
    let rejected: Response | undefined
    while (rejected === undefined) {
      const id = `t${accepted.length}`
      const response = await put(first.url, id, shiftedTask(sst2, accepted.length))
      if (response.status === 201) accepted.push(id)
      else rejected = response
      assert.ok(accepted.length < 500)
    }
    assert.ok(accepted.length > 5)
    assert.deepEqual([rejected.status, rejected.headers.get('retry-after')], [503, '5'])
    const { code, detail } = (await rejected.json()) as { code: string; detail: string }
    assert.equal(code, 'storage_failed')
    // If a write is only partly possible because of a size limit, the system reports a less specific error.
    assert.match(
      detail,
      isRoot ? /tasks\.lmdb cannot be written: no space left on device \(ENOSPC\); free space/ : /\((EFBIG|EIO)\)/,
    )
    const removal = await fetch(`${first.url}/tasks/${accepted[0]}`, { method: 'DELETE' })
    assert.ok([204, 503].includes(removal.status))
    if (removal.status === 204) accepted.shift()
    assert.equal((await predict(first.url, `t${accepted.length + 5}`)).status, 404)
    for (const id of [...accepted.slice(0, 3), 'sst2']) assert.equal((await predict(first.url, id)).status, 200)
    assert.equal((await fetch(`${first.url}/health/ready`)).status, 200)

    disk.makeRoom(first.process.pid)
    for (const id of ['after', 'again']) {
      assert.equal((await put(first.url, id, sst2)).status, 201)
      accepted.push(id)
    }
    first.process.kill('SIGTERM')
    assert.deepEqual(await first.exit, [0, null])
    const second = await serve(disk.directory)
    const { tasks } = (await (await fetch(`${second.url}/tasks?limit=1000`)).json()) as {
      tasks: { id: string; origin: string }[]
    }
    assert.deepEqual(
      tasks.filter(({ origin }) => origin === 'uploaded').map(({ id }) => id),
      accepted.toSorted(),
    )
    second.process.kill('SIGTERM')
    assert.deepEqual(await second.exit, [0, null])
  })

  test('stays full shuts down within its timeout', async () => {
    const disk = await smallDisk()
    const server = await ready(start(disk.wrapper, await referenceFlags(disk.directory)))
    while ((await put(server.url, `t${Math.random()}`, sst2)).status === 201);
    server.process.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
  })

  test('is read-only does not start, and names the directory', async () => {
    const dataDir = join(await temporaryDirectory(), 'data')
    await mkdir(dataDir)
    await chmod(dataDir, 0o555)
    // Root can write everywhere except on a read-only mount.
    if (isRoot) {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro,size=1m', 'tmpfs', dataDir])
      after(() => execFileSync('umount', ['--lazy', dataDir]))
    }
    const { code, output } = await failedStart(start([], await referenceFlags(dataDir), piped))
    assert.equal(code, 1)
    assert.match(
      output,
      new RegExp(`the data directory ${dataDir} cannot be used: (read-only file system|permission denied)`),
    )
  })
})

describe('a full disk', { skip: !isRoot && 'only root may mount a small file system' }, () => {
  test('lets no server start that needs space for a lock file or a store, and says so', async () => {
    const disk = await smallDisk()
    const flags = await referenceFlags(join(disk.directory, 'data'))
    const first = await ready(start([], flags))
    assert.equal((await put(first.url, 'a', sst2)).status, 201)
    first.process.kill('SIGTERM')
    await first.exit
    await fill(disk.directory)
    const again = await ready(start([], flags))
    assert.equal((await predict(again.url, 'a')).status, 200)
    again.process.kill('SIGTERM')
    await again.exit

    await rm(join(disk.directory, 'data/tasks.lmdb-lock'))
    await fill(disk.directory)
    for (const dataDir of ['data', 'other']) {
      const { code, output } = await failedStart(start([], await referenceFlags(join(disk.directory, dataDir)), piped))
      assert.equal(code, 1)
      assert.match(output, /cannot be used: no space left on device \(ENOSPC\); free space/)
    }
  })
})

/** Fills the disk to the last byte. */
async function fill(directory: string): Promise<void> {
  const file = await open(join(directory, 'rest'), 'a')
  for (let bytes = 65_536; bytes >= 1_024; )
    await file.write(Buffer.alloc(bytes)).catch(() => {
      bytes /= 2
    })
  await file.close()
}

describe('a data directory', () => {
  test('that is replaced under a server makes it not ready, and keys of the store stop working', async () => {
    const dataDir = await temporaryDirectory()
    const operatorKey = 'k'.repeat(32)
    const env = { ...process.env, PROPETL_OPERATOR_KEY: operatorKey }
    const child = start([], await referenceFlags(dataDir), { env, stdio: ['ignore', 'pipe', 'inherit'] })
    const { url, exit } = await ready(child)
    const send = (key: string, method: string, path: string, body?: object) =>
      fetch(`${url}${path}`, {
        method,
        headers: { authorization: `Bearer ${key}`, ...(body && { 'content-type': 'application/json' }) },
        ...(body && { body: JSON.stringify(body) }),
      })
    assert.equal((await send(operatorKey, 'PUT', '/tenants/acme', {})).status, 201)
    const made = await send(operatorKey, 'POST', '/tenants/acme/keys', {})
    const { key } = (await made.json()) as { key: string }
    assert.equal((await send(key, 'GET', '/tasks')).status, 200)
    const path = join(dataDir, 'tasks.lmdb')
    await copyFile(path, `${path}.backup`)
    await rename(`${path}.backup`, path)

    while ((await fetch(`${url}/health/ready`)).status !== 503) await delay(50)
    const { code, detail } = (await (await fetch(`${url}/health/ready`)).json()) as { code: string; detail: string }
    assert.equal(code, 'storage_unavailable')
    assert.match(detail, /tasks\.lmdb was replaced by another file; stop the server/)
    assert.equal((await send(key, 'GET', '/tasks')).status, 503)
    assert.equal((await send(operatorKey, 'DELETE', '/tenants/acme')).status, 503)
    assert.equal((await fetch(`${url}/health/live`)).status, 200)
    assert.match(await (await send(operatorKey, 'GET', '/metrics')).text(), /^propetl_storage_available 0$/m)
    child.kill('SIGTERM')
    assert.deepEqual(await exit, [0, null])
  })

  test('can be used by one container only, and commands in other containers say why they fail', {
    skip: !isRoot && 'only root may make process id namespaces',
  }, async () => {
    const dataDir = await temporaryDirectory()
    const container = ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc']
    const server = await ready(start(container, await referenceFlags(dataDir)))
    const [program = '', ...args] = [...container, process.execPath, cli, 'tenants', 'list', '--data-dir', dataDir]
    const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' })
    assert.equal(status, 2)
    assert.match(
      stderr,
      /^propetl: .*a process in another container uses it and has the same process id, 1; run one server/,
    )
    assert.equal((await put(server.url, 'a', sst2)).status, 201)
    server.process.kill('SIGKILL')
    await server.exit
  })

  test('can be shared by servers of one machine: each immediately shows the changes of the others', async () => {
    const dataDir = await temporaryDirectory()
    const [a, b] = await Promise.all([serve(dataDir), serve(dataDir)])
    for (let round = 0; round < 10; round++) {
      const [from, to] = round % 2 === 0 ? [a, b] : [b, a]
      const file = shiftedTask(sst2, round)
      assert.ok([200, 201].includes((await put(from.url, 'x', file)).status))
      assert.equal((await predictionOf(await predict(to.url, 'x'))).version, digestOf(file))
    }
    assert.equal((await fetch(`${b.url}/tasks/x`, { method: 'DELETE' })).status, 204)
    assert.equal((await predict(a.url, 'x')).status, 404)
    for (const { process: child, exit } of [a, b]) {
      child.kill('SIGTERM')
      assert.deepEqual(await exit, [0, null])
    }
  })
})
