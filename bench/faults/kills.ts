// kill -9 at chosen writes and flushes. Afterwards every acknowledged change must be stored, and every task complete.

import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { StorageFault, StorageFaults } from '../../test/native-faults/storage-faults.js'
import { many } from '../attacks/attack.js'
import { type Fault, none } from './fault.js'
import { Ledger } from './ledger.js'
import type { ServerUnderTest } from './server.js'
import { version } from './task-files.js'
import type { Testbed } from './testbed.js'
import { timeUntil } from './waiting.js'

type Moment = Extract<StorageFault, { kind: 'kill' }>['when']
const moments: readonly Moment[] = ['before', 'after', 'halfway']

interface Point {
  readonly when: Moment
  /** The number of the write or flush, counted from the first change, or from the start in a new directory. */
  readonly call: number
  readonly isNew: boolean
}

/** Points at the first calls, with three moments per call. */
const pointsOf = (count: number, isNew: boolean): Point[] =>
  many(count, (index) => ({
    when: moments[index % moments.length] ?? 'before',
    call: 1 + Math.floor(index / moments.length),
    isNew,
  }))

const tasksOfWriter = 4
/** Far more changes than are needed to reach any point. */
const mostChanges = 400
const startMs = 60_000

/** Uploads, replaces and removes the writer's own tasks until the server exits. */
async function write(server: ServerUnderTest, ledger: Ledger, writer: number): Promise<void> {
  for (let count = 0; count < mostChanges && !server.isEnded; count++) {
    const id = `w${writer}-${count % tasksOfWriter}`
    const verdict =
      ledger.has(id) && count % 7 === 6
        ? await ledger.remove(server, id)
        : await ledger.put(server, id, version(count + 13 * writer))
    if (verdict !== 'made') await delay(10)
  }
}

/** A data directory whose servers are killed one after another. */
interface Victim {
  readonly ledger: Ledger
  readonly faults: StorageFaults
  readonly start: () => ServerUnderTest
}

async function newVictim(testbed: Testbed): Promise<Victim> {
  const dataDir = await testbed.directory()
  const faults = await testbed.storageFaults(join(dataDir, 'tasks.lmdb'))
  return { ledger: new Ledger(), faults, start: () => testbed.launch({ dataDir, env: faults.env }) }
}

interface Killed {
  readonly ledgers: readonly Ledger[]
  readonly wrong: readonly string[]
}

/** Kills servers at one point after another. The server that is started for the check is the next one to be killed. */
async function killAtPoints(testbed: Testbed, points: readonly Point[], onPoint: () => void): Promise<Killed> {
  const wrong: string[] = []
  let victim = await newVictim(testbed)
  const ledgers = [victim.ledger]
  let running: ServerUnderTest | undefined
  for (const { when, call, isNew } of points) {
    if (isNew || running === undefined) {
      await running?.kill()
      victim = await newVictim(testbed)
      ledgers.push(victim.ledger)
    }
    const { ledger, faults, start } = victim
    const where = `killed ${when} call ${call}${isNew ? ' of a new directory' : ''}`
    const kill = () => faults.set({ kind: 'kill', when }, { first: call })
    if (isNew) kill()
    const server = isNew ? start() : (running ?? (await start().ready()))
    if (!isNew) kill()
    await timeUntil(() => server.isReady || server.isEnded, startMs, 10)
    await Promise.all([0, 1, 2].map((writer) => write(server, ledger, writer)))
    if (!server.isEnded) wrong.push(`${where}: the point was not reached in ${faults.calls} calls`)
    await server.kill()
    faults.count()
    running = start()
    try {
      await running.ready()
      wrong.push(...(await ledger.check(running)).map((what) => `${where}: ${what}`))
    } catch (error) {
      wrong.push(`${where}: ${(error as Error).message}`)
      running = undefined
    }
    onPoint()
  }
  return { ledgers, wrong }
}

export const killAtLmdb = (name: string, runningPoints: number, startPoints: number): Fault => ({
  name,
  cause: `kill -9 before, after and halfway through writes and flushes of lmdb, at ${runningPoints + startPoints} points`,
  expected: 'no acknowledged change is lost, no task is incomplete, every start succeeds',
  needs: ['preload'],
  async run(testbed) {
    const points = [...pointsOf(startPoints, true), ...pointsOf(runningPoints, false)]
    let done = 0
    const onPoint = () => {
      if (++done % 10 === 0) testbed.log(`${done} of ${points.length} points`)
    }
    const chains = Math.min(4, availableParallelism())
    const parts = many(chains, (chain) => points.filter((_, index) => index % chains === chain))
    const killed = await Promise.all(parts.map((part) => killAtPoints(testbed, part, onPoint)))
    const ledgers = killed.flatMap((each) => each.ledgers)
    const wrong = killed.flatMap((each) => each.wrong)
    return [
      none('lost acknowledged changes, incomplete tasks and failed starts', wrong, {
        points: points.length,
        ...sumOf(ledgers),
      }),
    ]
  },
})

function sumOf(ledgers: readonly Ledger[]): Readonly<Record<string, number>> {
  const sum = (count: (ledger: Ledger) => number) => ledgers.reduce((total, ledger) => total + count(ledger), 0)
  return {
    acknowledged: sum(({ counts }) => counts.made),
    rejected: sum(({ counts }) => counts['not made']),
    unknown: sum(({ counts }) => counts.unknown),
  }
}

const backOffMs = 500
const pointMs = 30_000

/** Uploads tasks until `isOver`. Waits after each change that was not acknowledged. */
async function upload(server: ServerUnderTest, ledger: Ledger, writer: number, isOver: () => boolean): Promise<void> {
  for (let count = 0; !isOver(); count++) {
    const id = `p${writer}-${count % 20}`
    if ((await ledger.put(server, id, version(count + writer))) !== 'made') await delay(backOffMs)
  }
}

/** Kills the processes of the database at one point after another, while replicas make changes. */
async function killDatabase(testbed: Testbed, points: readonly Point[], faults: StorageFaults, ledger: Ledger) {
  const missed: string[] = []
  for (const [index, { when, call }] of points.entries()) {
    const [accepted, others] = [ledger.counts.made, ledger.changes - ledger.counts.made]
    faults.set({ kind: 'kill', when }, { first: call, times: 1 })
    if ((await timeUntil(() => faults.faults > 0, pointMs)) === undefined) missed.push(`${when} call ${call}`)
    faults.count()
    // Waits until more changes were acknowledged than the crash has cost.
    await timeUntil(() => {
      const acceptedNow = ledger.counts.made - accepted
      return acceptedNow >= ledger.changes - ledger.counts.made - others + 10
    }, pointMs)
    if ((index + 1) % 10 === 0) testbed.log(`${index + 1} of ${points.length} points`)
  }
  return missed
}

export const killAtPostgres = (name: string, count: number): Fault => ({
  name,
  cause: `kill -9 of PostgreSQL's processes before, after and halfway through writes and flushes of its log, at ${count} points`,
  expected: 'no acknowledged change is lost, no task is incomplete, at least half of the uploads are accepted',
  needs: ['preload', 'postgres'],
  async run(testbed) {
    const { server, url } = await testbed.ownDatabase()
    const faults = await testbed.storageFaults(join(server.data, 'pg_wal'))
    await server.stop()
    server.env = faults.env
    await server.start()
    const replicas = await Promise.all([testbed.replica(url), testbed.replica(url)])
    const ledger = new Ledger()
    let isOver = false
    const uploading = [...replicas, ...replicas].map((replica, writer) => upload(replica, ledger, writer, () => isOver))
    const missed = await killDatabase(testbed, pointsOf(count, false), faults, ledger)
    isOver = true
    await Promise.all(uploading)
    const wrong = await checkReplicas(testbed, replicas, url, ledger)
    const share = ledger.counts.made / ledger.changes
    return [
      none('lost acknowledged changes, incomplete tasks and differences between replicas', wrong, sumOf([ledger])),
      { name: 'share of uploads that were accepted', unit: '', value: share, target: { atLeast: 0.5 } },
      none('points that were not reached', missed),
    ]
  },
})

/** Checks that all replicas, and one without a mirror, have what the responses stated. */
async function checkReplicas(
  testbed: Testbed,
  replicas: readonly ServerUnderTest[],
  url: string,
  ledger: Ledger,
): Promise<string[]> {
  const wrong: string[] = []
  for (const replica of [...replicas, await testbed.replica(url)]) {
    // A replica that accepts a change has applied all earlier changes.
    const ms = await timeUntil(async () => (await replica.put('marker', version(0))).status < 300, pointMs, 200)
    if (ms === undefined) wrong.push('a replica does not accept changes')
    wrong.push(...(await ledger.check(replica)))
  }
  return wrong
}

export const killFaults: readonly Fault[] = [killAtLmdb('kill-lmdb', 180, 20), killAtPostgres('kill-postgres', 50)]
