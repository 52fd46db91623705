// What can happen to the disk under a server: each fault is caused for real, on a server process.

import assert from 'node:assert/strict'
import { execFileSync, type SpawnOptions } from 'node:child_process'
import { chmod, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { digestOf } from '../src/formats/digest.js'
import { shiftedTask, taskBytes, temporaryDirectory } from './material.js'
import { answerOf, predict, put, ready, referenceFlags, refusal, serve, start } from './server-process.js'
import { isRoot, smallDisk } from './small-disk.js'

const sst2 = taskBytes('sst2')
const piped: SpawnOptions = { stdio: ['ignore', 'pipe', 'pipe'] }

describe('a server whose disk', () => {
  test('is full refuses changes, goes on predicting, and takes changes once there is room', async () => {
    const disk = await smallDisk()
    const flags = await referenceFlags(disk.directory)
    const first = await ready(start(disk.wrapper, flags))
    const taken: string[] = []
    let refused: Response | undefined
    while (refused === undefined) {
      const id = `t${taken.length}`
      const response = await put(first.url, id, shiftedTask(sst2, taken.length))
      if (response.status === 201) taken.push(id)
      else refused = response
      assert.ok(taken.length < 500)
    }
    assert.ok(taken.length > 5)
    assert.deepEqual([refused.status, refused.headers.get('retry-after')], [503, '5'])
    const { code, detail } = (await refused.json()) as { code: string; detail: string }
    assert.equal(code, 'storage_failed')
    assert.match(
      detail,
      /tasks\.lmdb cannot be written: (No space left on device|File too large|Input\/output error).*make room/,
    )
    const removal = await fetch(`${first.url}/tasks/${taken[0]}`, { method: 'DELETE' })
    assert.ok([204, 503].includes(removal.status))
    if (removal.status === 204) taken.shift()
    assert.equal((await predict(first.url, `t${taken.length + 5}`)).status, 404)
    for (const id of [...taken.slice(0, 3), 'sst2']) assert.equal((await predict(first.url, id)).status, 200)
    assert.equal((await fetch(`${first.url}/health/ready`)).status, 200)

    disk.makeRoom(first.process.pid)
    for (const id of ['after', 'again']) {
      assert.equal((await put(first.url, id, sst2)).status, 201)
      taken.push(id)
    }
    first.process.kill('SIGTERM')
    assert.deepEqual(await first.exit, [0, null])
    const second = await serve(disk.directory)
    const { tasks } = (await (await fetch(`${second.url}/tasks?limit=1000`)).json()) as {
      tasks: { id: string; origin: string }[]
    }
    assert.deepEqual(
      tasks.filter(({ origin }) => origin === 'uploaded').map(({ id }) => id),
      taken.toSorted(),
    )
    second.process.kill('SIGTERM')
    assert.deepEqual(await second.exit, [0, null])
  })

  test('stays full stops within its time all the same', async () => {
    const disk = await smallDisk()
    const server = await ready(start(disk.wrapper, await referenceFlags(disk.directory)))
    while ((await put(server.url, `t${Math.random()}`, sst2)).status === 201);
    server.process.kill('SIGTERM')
    assert.deepEqual(await server.exit, [0, null])
  })

  test('may not be written to does not start, and says which directory', async () => {
    const dataDir = join(await temporaryDirectory(), 'data')
    await mkdir(dataDir)
    await chmod(dataDir, 0o555)
    // Root may write everywhere: then a mount that is read-only.
    if (isRoot) {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'ro,size=1m', 'tmpfs', dataDir])
      after(() => execFileSync('umount', ['--lazy', dataDir]))
    }
    const { code, said } = await refusal(start([], await referenceFlags(dataDir), piped))
    assert.equal(code, 1)
    assert.match(
      said,
      new RegExp(`the data directory ${dataDir} cannot be used: (Read-only file system|Permission denied)`),
    )
  })
})

describe('a data directory', () => {
  test('may be shared by servers of one machine: each shows at once what the others change', async () => {
    const dataDir = await temporaryDirectory()
    const [a, b] = await Promise.all([serve(dataDir), serve(dataDir)])
    for (let round = 0; round < 10; round++) {
      const [from, to] = round % 2 === 0 ? [a, b] : [b, a]
      const file = shiftedTask(sst2, round)
      assert.ok([200, 201].includes((await put(from.url, 'x', file)).status))
      assert.equal((await answerOf(await predict(to.url, 'x'))).version, digestOf(file))
    }
    assert.equal((await fetch(`${b.url}/tasks/x`, { method: 'DELETE' })).status, 204)
    assert.equal((await predict(a.url, 'x')).status, 404)
    for (const { process: child, exit } of [a, b]) {
      child.kill('SIGTERM')
      assert.deepEqual(await exit, [0, null])
    }
  })
})
