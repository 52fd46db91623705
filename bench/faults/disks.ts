// Full and failing disks, and the reasons that clients and operators see.

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Fault, type Finding, none, unless } from './fault.js'
import { Ledger } from './ledger.js'
import { describeResponse } from './server.js'
import { version } from './task-files.js'
import type { Testbed } from './testbed.js'
import { timeUntil } from './waiting.js'

const fullReason = /no space left on device/i
const MiB = 1024 * 1024

/** Fills the disk. @returns the file that uses the space */
export function fill(disk: string): string {
  const filler = join(disk, 'filler')
  // A write that does not fit is partial, so smaller ones follow.
  for (const size of [MiB, 4096, 1])
    for (;;) {
      try {
        writeFileSync(filler, Buffer.alloc(size), { flag: 'a' })
      } catch {
        break
      }
    }
  return filler
}

const inUse: Fault = {
  name: 'disk-full',
  cause: 'the disk of a running server becomes full, and then has space again',
  expected: 'changes are rejected with that reason, tasks can be read, and changes are accepted when there is space',
  needs: ['root'],
  async run(testbed) {
    const disk = await testbed.disk('size=8m')
    const dataDir = join(disk, 'data')
    const server = await testbed.server({ dataDir })
    const ledger = new Ledger()
    for (let id = 0; id < 20; id++) await ledger.put(server, `t${id}`, version(id))
    const filler = fill(disk)
    // Free pages of the database may take some changes.
    const isRejected = async () => (await ledger.put(server, `t${ledger.changes}`, version(ledger.changes))) !== 'made'
    await timeUntil(isRejected, 20_000, 0)
    const rejected = await server.put('rejected', version(0))
    const wrong = await ledger.check(server)
    rmSync(filler)
    const accepted = await server.put('accepted', version(1))
    await server.stop()
    const again = await testbed.server({ dataDir })
    wrong.push(...(await ledger.check(again)))
    return [
      none('missing reasons', unless(fullReason.test(rejected.detail), describeResponse(rejected))),
      none('wrong responses', wrong),
      none('changes rejected although there is space', unless(accepted.status === 201, describeResponse(accepted))),
    ]
  },
}

/** A start on a full disk: in a directory with a database, with a database without its lock file, and a new one. */
const atStart: Fault = {
  name: 'disk-full-at-start',
  cause: 'starts on a full disk: with a database, with a database without a lock file, without a database',
  expected: 'each serves, or exits with code 1 and that reason in the last line',
  needs: ['root'],
  async run(testbed) {
    const disk = await testbed.disk('size=4m')
    const dataDir = join(disk, 'data')
    const first = await testbed.server({ dataDir })
    for (let id = 0; id < 10; id++) await first.put(`t${id}`, version(id))
    await first.stop()
    fill(disk)
    const withDatabase = await startOn(testbed, dataDir, 'with a database')
    rmSync(join(dataDir, 'tasks.lmdb-lock'), { force: true })
    fill(disk)
    return [
      ...withDatabase,
      ...(await startOn(testbed, dataDir, 'without a lock file')),
      ...(await startOn(testbed, join(disk, 'other'), 'in a new directory')),
    ]
  },
}

async function startOn(testbed: Testbed, dataDir: string, state: string): Promise<Finding[]> {
  const server = testbed.launch({ dataDir })
  await timeUntil(() => server.isReady || server.isEnded, 20_000)
  const { isReady, end, lastLine } = server
  await server.kill()
  const isRight = isReady || (end === 'exit code 1' && fullReason.test(lastLine))
  return [
    none(`wrong results of a start ${state}`, unless(isRight, `${end}: ${lastLine}`), { end: isReady ? 'ready' : end }),
  ]
}

/** The texts of the C library. */
const reasons = {
  ENOSPC: fullReason,
  EIO: /input\/output error/i,
  EDQUOT: /disk quota exceeded/i,
  EROFS: /read-only file system/i,
}

const named: Fault = {
  name: 'disk-reasons',
  cause: 'writes and flushes of lmdb fail with ENOSPC, EIO, EDQUOT and EROFS',
  expected: 'each response names its reason and no other',
  needs: ['preload'],
  async run(testbed) {
    const wrong: string[] = []
    for (const error of ['ENOSPC', 'EIO', 'EDQUOT', 'EROFS'] as const)
      for (const call of ['write', 'flush'] as const) {
        // After a failed flush the server may close its store permanently.
        const dataDir = await testbed.directory()
        const faults = await testbed.storageFaults(join(dataDir, 'tasks.lmdb'))
        const server = await testbed.server({ dataDir, env: faults.env })
        await server.put('before', version(0))
        faults.set({ kind: 'fail', error }, { calls: [call] })
        const response = await server.put('rejected', version(1))
        const matches = Object.entries(reasons).filter(([, reason]) => reason.test(response.detail))
        if (matches.length !== 1 || matches[0]?.[0] !== error)
          wrong.push(`${error} of a ${call}: ${describeResponse(response)}`)
        await server.kill()
      }
    return [none('reasons that are not describeResponse, or wrong', wrong)]
  },
}

export const diskFaults: readonly Fault[] = [inUse, atStart, named]
