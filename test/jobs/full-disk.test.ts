// Jobs on a file system that becomes full. Limiting the size of files would not do: the examples of a job are small.

import assert from 'node:assert/strict'
import { closeSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { digestOf } from '../../src/formats/digest.js'
import { LmdbStore } from '../../src/store/lmdb.js'
import { operator } from '../../src/tenants/tenant.js'
import { shiftedTask, taskBytes, temporaryDirectory } from '../material.js'
import { isRoot, smallDisk } from '../small-disk.js'
import { anyVersion } from '../store/replica.js'
import { findLearner, openLearning } from './material.js'
import { seeds } from './seeds.js'

/** Fills a file system to the last byte. @returns the file that does */
function fill(directory: string): string {
  const path = join(directory, 'full')
  const file = openSync(path, 'w')
  for (const bytes of [64 * 1024, 1])
    try {
      while (writeSync(file, Buffer.alloc(bytes)) > 0);
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
    }
  closeSync(file)
  return path
}

describe('on a full disk', { skip: isRoot ? false : 'mounting needs root', timeout: 60_000 }, () => {
  test('a job that has learned waits until its version can be stored', async () => {
    const { directory } = await smallDisk()
    const store = LmdbStore.open(directory)
    const filesOfJobs = await temporaryDirectory()
    const options = { directory: join(filesOfJobs, 'learning') }
    const { learn, post, reaches, tasks, log } = await openLearning(options, { store, directory })
    await post('tickets')
    const job = await learn('tickets', { seed: seeds.hang })
    const { folder } = await findLearner(filesOfJobs)
    while (tasks.digest(operator, 'tickets') === undefined) await delay(10)
    const full = fill(directory)
    // Free pages of the store take some more changes.
    const taskFile = shiftedTask(taskBytes('sst2'), 1)
    for (let i = 0, isFull = false; !isFull; i++)
      await tasks.put(operator, `t${i}`, digestOf(Buffer.from(`${i}`)), taskFile, anyVersion).catch(() => {
        isFull = true
      })
    writeFileSync(join(folder, 'go'), '')
    while (!log.some(({ msg }) => msg === 'the state of a job could not be stored')) await delay(10)
    assert.equal((await reaches(job, 'running')).attempt, 1)
    rmSync(full)
    const { attempt, outcome } = await reaches(job, 'succeeded')
    assert.deepEqual([attempt, outcome?.version], [1, 2])
  })

  test('a job whose examples cannot be written fails, and says why', async () => {
    const { directory } = await smallDisk()
    const store = LmdbStore.open(directory)
    const elsewhere = await smallDisk()
    const full = fill(elsewhere.directory)
    const { learn, post, reaches } = await openLearning(
      { directory: join(elsewhere.directory, 'learning') },
      { store, directory },
    )
    await post('tickets')
    const { error } = await reaches(await learn('tickets'), 'failed')
    assert.deepEqual(
      [error?.code, /the disk of the server is full/.test(error?.message ?? '')],
      ['storage_failed', true],
    )
    rmSync(full)
  })
})
