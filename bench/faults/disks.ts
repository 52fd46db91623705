// Disks without room, and the reasons that clients and operators are told.

import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Fault, type Finding, none, unless } from './fault.js'
import { Ledger } from './ledger.js'
import { told } from './server.js'
import type { Stage } from './stage.js'
import { version } from './task-files.js'
import { timeUntil } from './waiting.js'

const fullReason = /no space left on device/i
const MiB = 1024 * 1024

/** Takes all room that is left. @returns the file that has it */
export function fill(disk: string): string {
  const filler = join(disk, 'filler')
  // A piece that does not fit whole is written in part, and smaller ones after it.
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
  does: 'the disk of a running server has no room any more, and then has again',
  must: 'changes are refused by that reason, tasks are read, and changes are accepted once there is room',
  needs: ['root'],
  async run(stage) {
    const disk = await stage.disk('size=8m')
    const dataDir = join(disk, 'data')
    const server = await stage.server({ dataDir })
    const ledger = new Ledger()
    for (let id = 0; id < 20; id++) await ledger.put(server, `t${id}`, version(id))
    const filler = fill(disk)
    // Pages that were free already may take some changes.
    const isRefused = async () => (await ledger.put(server, `t${ledger.changes}`, version(ledger.changes))) !== 'made'
    await timeUntil(isRefused, 20_000, 0)
    const refused = await server.put('refused', version(0))
    const wrong = await ledger.check(server)
    rmSync(filler)
    const accepted = await server.put('accepted', version(1))
    await server.stop()
    const again = await stage.server({ dataDir })
    wrong.push(...(await ledger.check(again)))
    return [
      none('reasons that are not told', unless(fullReason.test(refused.detail), told(refused))),
      none('wrong answers', wrong),
      none('changes refused with room', unless(accepted.status === 201, told(accepted))),
    ]
  },
}

/** A start on a full disk: of a directory that has a database, with and without its lock file, or that is new. */
const atStart: Fault = {
  name: 'disk-full-at-start',
  does: 'starts on a full disk: with a database, with one that has no lock file, without any',
  must: 'each serves, or ends with exit code 1 and that reason as the last line',
  needs: ['root'],
  async run(stage) {
    const disk = await stage.disk('size=4m')
    const dataDir = join(disk, 'data')
    const first = await stage.server({ dataDir })
    for (let id = 0; id < 10; id++) await first.put(`t${id}`, version(id))
    await first.stop()
    fill(disk)
    const withDatabase = await startOn(stage, dataDir, 'with a database')
    rmSync(join(dataDir, 'tasks.lmdb-lock'), { force: true })
    fill(disk)
    return [
      ...withDatabase,
      ...(await startOn(stage, dataDir, 'without a lock file')),
      ...(await startOn(stage, join(disk, 'other'), 'in a new directory')),
    ]
  },
}

async function startOn(stage: Stage, dataDir: string, what: string): Promise<Finding[]> {
  const server = stage.launch({ dataDir })
  await timeUntil(() => server.isReady || server.isEnded, 20_000)
  const { isReady, end, lastLine } = server
  await server.kill()
  const isRight = isReady || (end === 'exit code 1' && fullReason.test(lastLine))
  return [
    none(`wrong ends of a start ${what}`, unless(isRight, `${end}: ${lastLine}`), { end: isReady ? 'ready' : end }),
  ]
}

/** As the C library words them. */
const reasons = {
  ENOSPC: fullReason,
  EIO: /input\/output error/i,
  EDQUOT: /disk quota exceeded/i,
  EROFS: /read-only file system/i,
}

const named: Fault = {
  name: 'disk-reasons',
  does: 'writes and flushes of lmdb fail with ENOSPC, EIO, EDQUOT and EROFS',
  must: 'each answer names its reason and no other',
  needs: ['preload'],
  async run(stage) {
    const wrong: string[] = []
    for (const error of ['ENOSPC', 'EIO', 'EDQUOT', 'EROFS'] as const)
      for (const call of ['write', 'flush'] as const) {
        // After a failed flush the store of a server may be closed for good.
        const dataDir = await stage.directory()
        const faults = await stage.storageFaults(join(dataDir, 'tasks.lmdb'))
        const server = await stage.server({ dataDir, env: faults.env })
        await server.put('before', version(0))
        faults.set({ kind: 'fail', error }, { calls: [call] })
        const answer = await server.put('refused', version(1))
        const namedOnes = Object.entries(reasons).filter(([, reason]) => reason.test(answer.detail))
        if (namedOnes.length !== 1 || namedOnes[0]?.[0] !== error) wrong.push(`${error} of a ${call}: ${told(answer)}`)
        await server.kill()
      }
    return [none('reasons that are not told, or wrong', wrong)]
  },
}

export const diskFaults: readonly Fault[] = [inUse, atStart, named]
