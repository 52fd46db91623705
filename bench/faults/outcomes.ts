// Responses under injected faults. The stated outcome (made, not made, unknown) must agree with what is stored.

import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { StorageFault, StorageFaultRange } from '../../test/native-faults/storage-faults.js'
import { sql } from '../../test/postgres.js'
import type { TcpProxy } from '../../test/tcp-proxy.js'
import { byteSequence } from '../support/material.js'
import { type Fault, type Finding, none, unless } from './fault.js'
import { Ledger } from './ledger.js'
import type { ServerUnderTest } from './server.js'
import { version } from './task-files.js'
import type { Database } from './testbed.js'
import { timeUntil } from './waiting.js'

/** In a round each writer makes changes one after another, while a fault happens. */
const [writers, changesOfWriter] = [4, 5]

async function changesOf(servers: readonly ServerUnderTest[], ledger: Ledger, round: number): Promise<void> {
  await Promise.all(
    Array.from({ length: writers }, async (_, writer) => {
      const server = servers[writer % servers.length]
      for (let count = 0; server && !server.isEnded && count < changesOfWriter; count++) {
        const id = `c${writer}-${(round + count) % 6}`
        if (ledger.has(id) && count % 4 === 3) await ledger.remove(server, id)
        else await ledger.put(server, id, version(round * changesOfWriter + count + writer))
      }
    }),
  )
}

const unknownLines = (servers: readonly ServerUnderTest[]) =>
  servers.reduce((sum, { output }) => sum + (output.match(/"outcome":"unknown"/g)?.length ?? 0), 0)

const findings = (ledger: Ledger, wrong: readonly string[], servers: readonly ServerUnderTest[]): Finding[] => {
  const lines = unknownLines(servers)
  const { counts, unknownResponses, rejections } = ledger
  return [
    none('responses that state a wrong outcome', wrong, {
      changes: ledger.changes,
      ...counts,
      'other responses': Object.entries(rejections)
        .map(([reason, count]) => `${reason} (${count})`)
        .join(', '),
    }),
    none(
      'unknown outcomes without an audit line',
      unless(lines >= unknownResponses, `${unknownResponses} responses, ${lines} audit lines`),
    ),
  ]
}

const storageFaults: readonly StorageFault[] = [
  { kind: 'fail', error: 'ENOSPC' },
  { kind: 'fail', error: 'EIO' },
  { kind: 'fail', error: 'EDQUOT' },
  { kind: 'shorten' },
  { kind: 'kill', when: 'before' },
  { kind: 'kill', when: 'after' },
  { kind: 'kill', when: 'halfway' },
]
const ranges: readonly Pick<StorageFaultRange, 'calls' | 'times'>[] = [
  { calls: ['write'], times: 1 },
  { calls: ['flush'], times: 1 },
  { calls: ['write'] },
  { calls: ['flush'] },
]

/** Time until the exit of a killed process is visible. */
const exitVisibleMs = 500

export const diskOutcomes = (name: string, changes: number): Fault => ({
  name,
  cause: `${changes} changes while writes and flushes of lmdb fail once or permanently, or the process is killed during one`,
  expected: 'no response states a wrong outcome, checked at once and after kill -9',
  needs: ['preload'],
  async run(testbed) {
    const dataDir = await testbed.directory()
    const faults = await testbed.storageFaults(join(dataDir, 'tasks.lmdb'))
    const ledger = new Ledger()
    const random = byteSequence(11)
    const wrong: string[] = []
    const servers: ServerUnderTest[] = []
    const start = async () => {
      const server = await testbed.server({ dataDir, env: faults.env })
      servers.push(server)
      return server
    }
    let server = await start()
    for (let round = 0; ledger.changes < changes; round++) {
      const fault = storageFaults[round % storageFaults.length] ?? { kind: 'shorten' }
      const range = { ...ranges[Math.floor(round / storageFaults.length) % ranges.length], first: 1 + (random() % 8) }
      faults.set(fault, range)
      await changesOf([server], ledger, round)
      faults.count()
      const what = `${fault.kind} of ${range.calls} from ${range.first}`
      const check = async (when: string) => (await ledger.check(server)).map((found) => `${what}, ${when}: ${found}`)
      const found = server.isEnded ? [] : await check('at once')
      // If the fault has just killed the process, only the check after the next start counts.
      if (found.length > 0) await delay(exitVisibleMs)
      if (!server.isEnded) wrong.push(...found)
      await server.kill()
      server = await start()
      wrong.push(...(await check('after a kill')))
      if (round % 5 === 4) testbed.log(`${ledger.changes} of ${changes} changes`)
    }
    return findings(ledger, wrong, servers)
  },
})

interface Setup {
  readonly database: Database
  readonly proxy: TcpProxy
  /** The replica behind the proxy. */
  readonly far: ServerUnderTest
}

interface LinkFault {
  readonly what: string
  /** @param random a number from 0 to 255 */
  readonly cause: (setup: Setup, random: number) => unknown
}

const linkFaults: readonly LinkFault[] = [
  {
    what: 'connections are closed',
    async cause({ proxy }, random) {
      for (let cuts = 0; cuts < 3; cuts++) {
        await delay(random / 4)
        proxy.cut()
      }
    },
  },
  {
    what: 'a connection is lost in the middle of a message',
    async cause({ proxy }, random) {
      proxy.loseAfter(random * 100)
      await delay(2_000)
      proxy.cut()
    },
  },
  {
    what: 'the link drops everything for a while',
    async cause({ proxy }, random) {
      await delay(random / 8)
      proxy.blackHole = true
      await delay(1_000)
      proxy.blackHole = false
      proxy.cut()
    },
  },
  {
    what: 'a process of the database is killed',
    async cause({ database: { server, name } }, random) {
      await delay(random / 4)
      const query = `select pid from pg_stat_activity where datname = '${name}' and pid <> pg_backend_pid()`
      const [session] = await sql(server.url(), query)
      if (session) process.kill(Number(session.pid), 'SIGKILL')
    },
  },
  {
    what: 'the replica is killed',
    async cause({ far }, random) {
      await delay(random)
      await far.kill()
    },
  },
]

export const databaseOutcomes = (name: string, changes: number): Fault => ({
  name,
  cause: `${changes} changes at two replicas while the link of one is closed, lost or silent, or the database or the replica is killed`,
  expected: 'no response states a wrong outcome',
  needs: ['postgres'],
  async run(testbed) {
    // A crash ends the sessions of all databases of a server.
    const database = await testbed.ownDatabase()
    const proxy = await testbed.proxy(database)
    const [farDir, near] = [await testbed.directory(), await testbed.replica(database.url)]
    const startFar = () => testbed.replica(database.urlThrough(proxy), { dataDir: farDir })
    let far = await startFar()
    const servers = [near, far]
    const ledger = new Ledger()
    const random = byteSequence(7)
    const wrong: string[] = []
    for (let round = 0; ledger.changes < changes; round++) {
      const fault = linkFaults[round % linkFaults.length]
      if (fault === undefined) break
      await Promise.all([changesOf([far, near], ledger, round), fault.cause({ database, proxy, far }, random())])
      if (far.isEnded) {
        far = await startFar()
        servers.push(far)
      }
      // A replica that accepts a change has applied all earlier changes.
      for (const replica of [far, near]) {
        const accepts = async () => (await replica.put('marker', version(round))).status < 300
        if ((await timeUntil(accepts, 30_000, 200)) === undefined)
          wrong.push(`${fault.what}: the replica does not accept changes any more`)
        wrong.push(...(await ledger.check(replica)).map((found) => `${fault.what}: ${found}`))
      }
      if (round % 5 === 4) testbed.log(`${ledger.changes} of ${changes} changes`)
    }
    return findings(ledger, wrong, servers)
  },
})

export const outcomeFaults: readonly Fault[] = [
  diskOutcomes('outcomes-disk', 500),
  databaseOutcomes('outcomes-database', 500),
]
