// The mirror of a replica is damaged, incomplete or on a full disk. The replica must end up with the data of the database.

import { randomFillSync } from 'node:crypto'
import { copyFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { flipBits } from './damage.js'
import { fill } from './disks.js'
import { atMost, type Fault, none, unless } from './fault.js'
import { Ledger } from './ledger.js'
import { describeResponse } from './server.js'
import { version } from './task-files.js'
import type { Testbed } from './testbed.js'
import { timeUntil } from './waiting.js'

const tasks = 60
const startMs = 60_000

/** A database with tasks, and the replica that uploaded them. */
async function filled(testbed: Testbed) {
  const database = await testbed.database()
  const dataDir = await testbed.directory()
  const replica = await testbed.replica(database.url, { dataDir })
  const ledger = new Ledger()
  for (let id = 0; id < tasks; id++) await ledger.put(replica, `t${id}`, version(id))
  return { database, replica, ledger, mirror: join(dataDir, 'mirror.lmdb') }
}

const damages: Readonly<Record<string, (mirror: string) => void>> = {
  ...Object.fromEntries(
    [1, 2, 3, 4, 5].map((seed) => [`bits flipped, seed ${seed}`, (mirror: string) => flipBits(mirror, seed, 8)]),
  ),
  'truncated to a half': (mirror) => truncateSync(mirror, 256 * 1024),
  'truncated to 8 KB': (mirror) => truncateSync(mirror, 8192),
  'random bytes': (mirror) => writeFileSync(mirror, randomFillSync(Buffer.alloc(300_000))),
}

const damaged: Fault = {
  name: 'mirror-damaged',
  cause: `the mirror of a stopped replica is damaged in ${Object.keys(damages).length} ways`,
  expected: 'the replica starts, and serves every task of the database',
  needs: ['postgres'],
  async run(testbed) {
    const { database, replica, ledger, mirror } = await filled(testbed)
    await replica.stop()
    const wrong: string[] = []
    for (const [what, damage] of Object.entries(damages)) {
      const dataDir = await testbed.directory()
      const copy = join(dataDir, 'mirror.lmdb')
      copyFileSync(mirror, copy)
      damage(copy)
      const again = testbed.launch({ dataDir, env: { PROPETL_DATABASE_URL: database.url } })
      try {
        await again.ready()
        // The replica may copy doubtful tasks again in the background.
        const isComplete = async () => (await again.uploaded()).length === tasks
        await timeUntil(isComplete, 5_000, 200)
        wrong.push(...(await ledger.check(again)).slice(0, 2).map((found) => `${what}: ${found}`))
      } catch (error) {
        wrong.push(`${what}: ${(error as Error).message.slice(0, 200)}`)
      }
      await again.kill()
    }
    return [none('failed starts, and missing or wrong tasks', wrong)]
  },
}

const killPoints = [5, 12, 20, 33, 47]

const killedCopy: Fault = {
  name: 'mirror-killed',
  cause: `kill -9 halfway through a write while the mirror is first filled, at ${killPoints.length} points`,
  expected: 'the next start has every task of the database',
  needs: ['postgres', 'preload'],
  async run(testbed) {
    const { database, ledger } = await filled(testbed)
    const wrong: string[] = []
    for (const point of killPoints) {
      const dataDir = await testbed.directory()
      const faults = await testbed.storageFaults(dataDir)
      const options = { dataDir, env: { ...faults.env, PROPETL_DATABASE_URL: database.url } }
      faults.set({ kind: 'kill', when: 'halfway' }, { calls: ['write'], first: point })
      const killed = testbed.launch(options)
      await timeUntil(() => killed.isReady || killed.isEnded, startMs)
      await killed.kill()
      faults.count()
      const again = await testbed.server(options)
      wrong.push(...(await ledger.check(again)).slice(0, 2).map((found) => `killed at write ${point}: ${found}`))
      await again.kill()
    }
    return [none('missing or wrong tasks', wrong)]
  },
}

const full: Fault = {
  name: 'mirror-full',
  cause: "the disk of a replica's mirror is full while this and another replica receive changes",
  expected: 'the other replica accepts changes; this one responds correctly, predicts, and follows when there is space',
  needs: ['postgres', 'root'],
  async run(testbed) {
    const { database, replica: other, ledger } = await filled(testbed)
    const disk = await testbed.disk('size=8m')
    const replica = await testbed.replica(database.url, { dataDir: join(disk, 'data') })
    const filler = fill(disk)
    const rejected: string[] = []
    for (let id = 0; id < 20; id++) {
      const verdict = await ledger.put(other, `other${id}`, version(id))
      if (verdict !== 'made') rejected.push(verdict)
    }
    for (let id = 0; id < 3; id++) await ledger.put(replica, `own${id}`, version(id), 20_000)
    const predicted = await replica.predict(['a gorgeous film'])
    const wrong = await ledger.check(other)
    rmSync(filler)
    const ms = await timeUntil(async () => (await replica.put('again', version(0))).status < 300, 20_000, 200)
    wrong.push(...(await ledger.check(replica)))
    return [
      none('changes that the other replica did not accept', rejected),
      none('predictions that failed', unless(predicted.status === 200, describeResponse(predicted))),
      none('responses that state a wrong outcome', wrong, { ...ledger.counts }),
      atMost('time until the replica accepts changes again', 'ms', ms ?? 20_000, 10_000),
    ]
  },
}

export const mirrorFaults: readonly Fault[] = [damaged, killedCopy, full]
