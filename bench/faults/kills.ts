// kill -9 at chosen writes and flushes: what was acknowledged is there afterwards, and everything is whole.

import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { StorageFault, StorageFaults } from '../../test/native-faults/storage-faults.js'
import { many } from '../attacks/attack.js'
import { type Fault, none } from './fault.js'
import { Ledger } from './ledger.js'
import type { ServerUnderTest } from './server.js'
import type { Stage } from './stage.js'
import { version } from './task-files.js'
import { timeUntil } from './waiting.js'

type Moment = Extract<StorageFault, { kind: 'kill' }>['when']
const moments: readonly Moment[] = ['before', 'after', 'halfway']

interface Point {
  readonly when: Moment
  /** The write or flush, counted from the first change, or from the start in a directory that is new. */
  readonly call: number
  readonly isNew: boolean
}

/** Calls in three moments each. */
const pointsOf = (count: number, isNew: boolean): Point[] =>
  many(count, (index) => ({
    when: moments[index % moments.length] ?? 'before',
    call: 1 + Math.floor(index / moments.length),
    isNew,
  }))

const tasksOfWriter = 4
/** Far more than the changes to any point. */
const mostChanges = 400
const startMs = 60_000

/** Uploads, replaces and removes tasks of its own until the server is gone. */
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

async function newVictim(stage: Stage): Promise<Victim> {
  const dataDir = await stage.directory()
  const faults = await stage.storageFaults(join(dataDir, 'tasks.lmdb'))
  return { ledger: new Ledger(), faults, start: () => stage.launch({ dataDir, env: faults.env }) }
}

interface Killed {
  readonly ledgers: readonly Ledger[]
  readonly wrong: readonly string[]
}

/** Kills servers at one point after the other. The one that is started to look at what is left is the next to be killed. */
async function killAtPoints(stage: Stage, points: readonly Point[], told: () => void): Promise<Killed> {
  const wrong: string[] = []
  let victim = await newVictim(stage)
  const ledgers = [victim.ledger]
  let running: ServerUnderTest | undefined
  for (const { when, call, isNew } of points) {
    if (isNew || running === undefined) {
      await running?.kill()
      victim = await newVictim(stage)
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
    told()
  }
  return { ledgers, wrong }
}

export const killAtLmdb = (name: string, runningPoints: number, startPoints: number): Fault => ({
  name,
  does: `kill -9 before, after and halfway through writes and flushes of lmdb, ${runningPoints + startPoints} points`,
  must: 'nothing acknowledged is lost, nothing is half there, every start succeeds',
  needs: ['preload'],
  async run(stage) {
    const points = [...pointsOf(startPoints, true), ...pointsOf(runningPoints, false)]
    let done = 0
    const told = () => {
      if (++done % 10 === 0) stage.say(`${done} of ${points.length} points`)
    }
    const chains = Math.min(4, availableParallelism())
    const parts = many(chains, (chain) => points.filter((_, index) => index % chains === chain))
    const killed = await Promise.all(parts.map((part) => killAtPoints(stage, part, told)))
    const ledgers = killed.flatMap((each) => each.ledgers)
    const wrong = killed.flatMap((each) => each.wrong)
    return [
      none('acknowledged changes lost, tasks half there, and starts refused', wrong, {
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
    refused: sum(({ counts }) => counts['not made']),
    unknown: sum(({ counts }) => counts.unknown),
  }
}

const backOffMs = 500
const pointMs = 30_000

/** Uploads tasks until it is told to stop. A client that was refused waits for a moment. */
async function upload(server: ServerUnderTest, ledger: Ledger, writer: number, isOver: () => boolean): Promise<void> {
  for (let count = 0; !isOver(); count++) {
    const id = `p${writer}-${count % 20}`
    if ((await ledger.put(server, id, version(count + writer))) !== 'made') await delay(backOffMs)
  }
}

/** Kills the database's processes at one point after the other, while replicas make changes. */
async function killDatabase(stage: Stage, points: readonly Point[], faults: StorageFaults, ledger: Ledger) {
  const missed: string[] = []
  for (const [index, { when, call }] of points.entries()) {
    const [accepted, others] = [ledger.counts.made, ledger.changes - ledger.counts.made]
    faults.set({ kind: 'kill', when }, { first: call, times: 1 })
    if ((await timeUntil(() => faults.faults > 0, pointMs)) === undefined) missed.push(`${when} call ${call}`)
    faults.count()
    // Changes go on before the next point: at least as many as the crash cost.
    await timeUntil(() => {
      const acceptedNow = ledger.counts.made - accepted
      return acceptedNow >= ledger.changes - ledger.counts.made - others + 10
    }, pointMs)
    if ((index + 1) % 10 === 0) stage.say(`${index + 1} of ${points.length} points`)
  }
  return missed
}

export const killAtPostgres = (name: string, count: number): Fault => ({
  name,
  does: `kill -9 of PostgreSQL's processes before, after and halfway through writes and flushes of its log, ${count} points`,
  must: 'nothing acknowledged is lost, nothing is half there, at least half of the uploads are accepted',
  needs: ['preload', 'postgres'],
  async run(stage) {
    const { server, url } = await stage.ownDatabase()
    const faults = await stage.storageFaults(join(server.data, 'pg_wal'))
    await server.stop()
    server.env = faults.env
    await server.start()
    const replicas = await Promise.all([stage.replica(url), stage.replica(url)])
    const ledger = new Ledger()
    let isOver = false
    const uploading = [...replicas, ...replicas].map((replica, writer) => upload(replica, ledger, writer, () => isOver))
    const missed = await killDatabase(stage, pointsOf(count, false), faults, ledger)
    isOver = true
    await Promise.all(uploading)
    const wrong = await checkReplicas(stage, replicas, url, ledger)
    const share = ledger.counts.made / ledger.changes
    return [
      none('acknowledged changes lost, tasks half there, replicas that differ', wrong, sumOf([ledger])),
      { what: 'share of the uploads that were accepted', unit: '', value: share, target: { atLeast: 0.5 } },
      none('points that were not reached', missed),
    ]
  },
})

/** All replicas, and one without a mirror, have what the answers say. */
async function checkReplicas(
  stage: Stage,
  replicas: readonly ServerUnderTest[],
  url: string,
  ledger: Ledger,
): Promise<string[]> {
  const wrong: string[] = []
  for (const replica of [...replicas, await stage.replica(url)]) {
    // A replica that took a change has followed all before it.
    const ms = await timeUntil(async () => (await replica.put('marker', version(0))).status < 300, pointMs, 200)
    if (ms === undefined) wrong.push('a replica takes no changes')
    wrong.push(...(await ledger.check(replica)))
  }
  return wrong
}

export const killFaults: readonly Fault[] = [killAtLmdb('kill-lmdb', 180, 20), killAtPostgres('kill-postgres', 50)]
