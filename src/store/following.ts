// How a mirror comes to the state of its database: change by change where it can, else by a full copy. A database that
// lacks what the mirror holds is followed only under the conditions of `makePlan`.

import type { Logger } from 'pino'
import { Problem } from '../problem.js'
import type { Database } from './database.js'
import { recordHash } from './digest.js'
import type { Mirror } from './mirror.js'
import { exactlyKnown, type History, isSamePosition, type Position } from './mirror-file.js'
import { type RecordRange, type Table, tables } from './store.js'

/** More than this is not followed in one transaction; a full copy is made, in pages. */
const maxFollowed = { records: 20_000, bytes: 64 * 1024 * 1024 }
/** Between lines about a full copy, in milliseconds. */
const progressMs = 5_000
/** Changes that a failover may lose: a database that lost only changes made this lately is followed, in milliseconds. */
const maxLostMs = 5 * 60_000

export type Plan =
  | { readonly kind: 'current' }
  | { readonly kind: 'copy'; readonly reason: string; readonly accepted?: string }
  /** `accept`: what `--accept-history` has to be for the database to be followed. */
  | { readonly kind: 'reject'; readonly reason: string; readonly accept: string }

/** A change as `--accept-history` names it. */
export const formatPosition = ({ number, mark }: Position): string => `${number}:${mark}`

function parsePosition(name: string): Position {
  const [number, mark = ''] = name.split(':')
  return { number: Number(number), mark }
}

/**
 * Brings a mirror from a position to the newest change that the transaction sees in which this runs. If a change of this
 * replica has moved the mirror meanwhile, nothing happens.
 * @param position of the mirror when the transaction began: a later one may be behind what that sees
 * @returns whether it could; else it takes a full copy, if the database is to be followed at all
 */
async function follow(database: Database, mirror: Mirror, position: Position): Promise<boolean> {
  const { head, known } = await database.head(position)
  if (!known || mirror.memoryFull) return false
  if (isSamePosition(head, position)) return true
  const { records, bytes } = await database.changeSizeSince(position)
  if (records > maxFollowed.records || bytes > maxFollowed.bytes) return false
  await mirror.advance(position, head, await database.changedSince(position))
  return true
}

/**
 * Follows where that can be done, and else says what is to be done. A mirror may be the last copy of what it holds: it
 * is not replaced by a database with another history, or by an older state of its own, as an empty volume or a backup
 * has it. There are two exceptions. A failover to a standby that lagged loses the last changes, and is followed without
 * asking. And an operator may have accepted the other history, which counts once for each mirror. In a snapshot.
 * @param accepts the change that `--accept-history` names
 */
export async function makePlan(database: Database, mirror: Mirror, accepts: string | undefined): Promise<Plan> {
  const { history } = mirror
  if (history === undefined) return { kind: 'copy', reason: mirror.rebuildReason ?? 'nothing is known of the mirror' }
  const { head, known } = await database.head(history.position)
  if (!known) {
    const fresh = accepts === history.accepted ? undefined : accepts
    const { common, forgotten, accepted, now } = await database.relation(
      history,
      fresh === undefined ? undefined : parsePosition(fresh),
    )
    if (accepted && fresh !== undefined) return { kind: 'copy', reason: 'its history was accepted', accepted: fresh }
    if (!forgotten) {
      const ours = `the mirror holds change ${history.position.number}, which the database never had`
      if (common === undefined)
        return { kind: 'reject', reason: `${ours}: it is another database`, accept: formatPosition(head) }
      const { madeAt } = firstLost(history, common)
      if (madeAt === undefined || now - madeAt > maxLostMs)
        return {
          kind: 'reject',
          reason: `${ours}: it was put back to change ${common.number}`,
          accept: formatPosition(head),
        }
      return { kind: 'copy', reason: `the database lost the changes after ${common.number}, as by a failover` }
    }
  }
  if (mirror.rebuildReason !== undefined) return { kind: 'copy', reason: mirror.rebuildReason }
  if (await follow(database, mirror, history.position)) return { kind: 'current' }
  return { kind: 'copy', reason: 'too much has changed to follow it' }
}

/** The first change after `common`, or a change that was made before it. */
function firstLost({ position, earlier }: History, common: Position): Position {
  if (position.number - common.number > exactlyKnown) return common
  return earlier[earlier.indexOf(common) - 1] ?? position
}

/**
 * Makes a mirror anew, of the state that the snapshot has in which this runs.
 * @param accepted the change by which this history was accepted
 * @returns whether it did; not where enough other replicas make copies now
 * @throws Problem where the mirror cannot be written
 */
export async function copy(
  database: Database,
  mirror: Mirror,
  { reason, accepted }: Plan & { readonly kind: 'copy' },
  pace: CopyPace,
  logger: Pick<Logger, 'info'>,
): Promise<boolean> {
  if (!(await database.claimCopy())) return false
  const { head } = await database.head(undefined)
  const { records: total, diskBytes } = await database.size()
  mirror.checkRoom(diskBytes)
  let copied = 0
  let saidAt = Date.now()
  const counted = async function* () {
    for await (const page of database.pages()) {
      yield page
      copied += page.length
      if (Date.now() - saidAt < progressMs) continue
      saidAt = Date.now()
      logger.info({ copied, total }, 'copying the database')
    }
  }
  logger.info({ reason, total, change: head.number }, 'making a full copy of the database')
  const earlier = await database.earlier(head)
  try {
    await mirror.replace({ position: head, earlier, accepted: accepted ?? mirror.history?.accepted }, counted())
  } finally {
    pace.copied()
  }
  logger.info({ copied }, 'the full copy of the database is complete')
  return true
}

/** When the next full copy may be made: at once, and then after pauses that double, so that faults do not end in copies. */
export class CopyPace {
  #next = 0
  #pauses = 0
  #last = 0

  /** Milliseconds until the next copy. */
  get waitMs(): number {
    return Math.max(0, this.#next - performance.now())
  }

  /** A copy was made, or failed. */
  copied(): void {
    const now = performance.now()
    if (now - this.#last > pauses.forgottenMs) this.#pauses = 0
    this.#last = now
    const pause = Math.min(pauses.lastMs, pauses.firstMs * 2 ** this.#pauses++)
    // Replicas that met the same fault do not all come back at the same time.
    this.#next = now + pause * (0.5 + Math.random())
  }
}

const pauses = { firstMs: 1_000, lastMs: 5 * 60_000, forgottenMs: 60 * 60_000 }

/** Between two comparisons of everything, and between two parts of one, in milliseconds. */
const comparing = { everyMs: 60 * 60_000, partMs: 100 }

/** Compares a mirror with its database, a few records at a time: all of it after the start, and again each hour. */
export class Comparison {
  #table = 0
  #after = ''
  #next = 0

  /** Milliseconds until the next part is due. */
  get waitMs(): number {
    return Math.max(0, this.#next - performance.now())
  }

  /** Compares the next records, if the mirror stands where the snapshot does in which this runs. */
  async part(database: Database, mirror: Mirror): Promise<void> {
    this.#next = performance.now() + comparing.partMs
    const table = tables[this.#table]
    if (table === undefined) return this.#done()
    const { position } = mirror
    const { head } = await database.head(position)
    if (position === undefined || !isSamePosition(head, position)) return
    const expected = await database.hashes(table, this.#after)
    const range = { after: this.#after, limit: Math.max(1, expected.length) }
    const own = this.#read(mirror, table, range)
    if (own === undefined) return
    const at = expected.findIndex(({ key, hash }, i) => own[i]?.key !== key || own[i]?.hash !== hash)
    const differs = at >= 0 ? expected[at] : own[expected.length]
    // A change or another process may have moved the mirror meanwhile, or its small tables.
    const isThere = mirror.position !== undefined && isSamePosition(mirror.position, position)
    if (differs !== undefined && isThere && mirror.smallAt === position.number)
      mirror.markSuspect(`the record "${differs.key}" of ${table} is not what the database has`)
    const last = expected.at(-1)
    this.#after = last?.key ?? ''
    if (last === undefined) this.#table++
  }

  /** Undefined where the mirror is damaged, which it notes itself. */
  #read(mirror: Mirror, table: Table, range: RecordRange): { key: string; hash: number }[] | undefined {
    try {
      return Array.from(mirror.range(table, range), ([key, value]) => ({ key, hash: recordHash(table, key, value) }))
    } catch (error) {
      if (error instanceof Problem) return undefined
      throw error
    }
  }

  #done(): void {
    this.#table = 0
    this.#next = performance.now() + comparing.everyMs * (0.75 + Math.random() / 2)
  }
}
