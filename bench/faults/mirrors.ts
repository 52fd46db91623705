// The mirror of a replica that is damaged, cut off, or has no room: the replica must end up with what the database has.

import { randomFillSync } from 'node:crypto'
import { copyFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { flipBits } from './damage.js'
import { fill } from './disks.js'
import { atMost, type Fault, none, unless } from './fault.js'
import { Ledger } from './ledger.js'
import { told } from './server.js'
import type { Stage } from './stage.js'
import { version } from './task-files.js'
import { timeUntil } from './waiting.js'

const tasks = 60
const startMs = 60_000

/** A database with tasks, and the replica that made them. */
async function filled(stage: Stage) {
  const database = await stage.database()
  const dataDir = await stage.directory()
  const replica = await stage.replica(database.url, { dataDir })
  const ledger = new Ledger()
  for (let id = 0; id < tasks; id++) await ledger.put(replica, `t${id}`, version(id))
  return { database, replica, ledger, mirror: join(dataDir, 'mirror.lmdb') }
}

const damages: Readonly<Record<string, (mirror: string) => void>> = {
  ...Object.fromEntries(
    [1, 2, 3, 4, 5].map((seed) => [`bits flipped, seed ${seed}`, (mirror: string) => flipBits(mirror, seed, 8)]),
  ),
  'cut to a half': (mirror) => truncateSync(mirror, 256 * 1024),
  'cut to 8 KB': (mirror) => truncateSync(mirror, 8192),
  'random bytes': (mirror) => writeFileSync(mirror, randomFillSync(Buffer.alloc(300_000))),
}

const damaged: Fault = {
  name: 'mirror-damaged',
  does: `a stopped replica's mirror is damaged: ${Object.keys(damages).length} ways`,
  must: 'the replica starts, and serves every task of the database, whole',
  needs: ['postgres'],
  async run(stage) {
    const { database, replica, ledger, mirror } = await filled(stage)
    await replica.stop()
    const wrong: string[] = []
    for (const [what, damage] of Object.entries(damages)) {
      const dataDir = await stage.directory()
      const copy = join(dataDir, 'mirror.lmdb')
      copyFileSync(mirror, copy)
      damage(copy)
      const again = stage.launch({ dataDir, env: { PROPETL_DATABASE_URL: database.url } })
      try {
        await again.ready()
        // What was in doubt may be copied anew beside.
        const isWhole = async () => (await again.uploaded()).length === tasks
        await timeUntil(isWhole, 5_000, 200)
        wrong.push(...(await ledger.check(again)).slice(0, 2).map((found) => `${what}: ${found}`))
      } catch (error) {
        wrong.push(`${what}: ${(error as Error).message.slice(0, 200)}`)
      }
      await again.kill()
    }
    return [none('starts refused, and tasks missing or wrong', wrong)]
  },
}

const killPoints = [5, 12, 20, 33, 47]

const killedCopy: Fault = {
  name: 'mirror-killed',
  does: `kill -9 halfway through ${killPoints.length} writes of a full copy`,
  must: 'the next start has every task of the database',
  needs: ['postgres', 'preload'],
  async run(stage) {
    const { database, ledger } = await filled(stage)
    const wrong: string[] = []
    for (const point of killPoints) {
      const dataDir = await stage.directory()
      const faults = await stage.storageFaults(dataDir)
      const options = { dataDir, env: { ...faults.env, PROPETL_DATABASE_URL: database.url } }
      faults.set({ kind: 'kill', when: 'halfway' }, { calls: ['write'], first: point })
      const killed = stage.launch(options)
      await timeUntil(() => killed.isReady || killed.isEnded, startMs)
      await killed.kill()
      faults.count()
      const again = await stage.server(options)
      wrong.push(...(await ledger.check(again)).slice(0, 2).map((found) => `killed at write ${point}: ${found}`))
      await again.kill()
    }
    return [none('tasks missing or wrong', wrong)]
  },
}

const full: Fault = {
  name: 'mirror-full',
  does: "the disk of a replica's mirror is full while changes are made at this replica and at another one",
  must: 'the other one accepts changes; answers at this one are right; it predicts, and follows once there is room',
  needs: ['postgres', 'root'],
  async run(stage) {
    const { database, replica: other, ledger } = await filled(stage)
    const disk = await stage.disk('size=8m')
    const replica = await stage.replica(database.url, { dataDir: join(disk, 'data') })
    const filler = fill(disk)
    const refused: string[] = []
    for (let id = 0; id < 20; id++) {
      const verdict = await ledger.put(other, `beside${id}`, version(id))
      if (verdict !== 'made') refused.push(verdict)
    }
    for (let id = 0; id < 3; id++) await ledger.put(replica, `own${id}`, version(id), 20_000)
    const predicted = await replica.predict(['a gorgeous film'])
    const wrong = await ledger.check(other)
    rmSync(filler)
    const ms = await timeUntil(async () => (await replica.put('again', version(0))).status < 300, 20_000, 200)
    wrong.push(...(await ledger.check(replica)))
    return [
      none('changes at the other replica that were not accepted', refused),
      none('predictions that failed', unless(predicted.status === 200, told(predicted))),
      none('answers that told the wrong outcome', wrong, { ...ledger.counts }),
      atMost('until it takes changes again', 'ms', ms ?? 20_000, 10_000),
    ]
  },
}

export const mirrorFaults: readonly Fault[] = [damaged, killedCopy, full]
