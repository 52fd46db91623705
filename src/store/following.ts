// How a mirror gets the state of its database: change by change if possible, otherwise by a full copy. `makePlan`
// decides whether a database that lacks changes of the mirror is followed.

import type { Logger } from 'pino'
import { Problem } from '../problem.js'
import type { Database } from './database.js'
import { recordHash } from './digest.js'
import type { Mirror } from './mirror.js'
import { exactlyKnown, type History, isSamePosition, type Position } from './mirror-file.js'
import { type RecordRange, type Table, tables } from './store.js'

/** The most that is followed in one transaction. Beyond it, a full copy is made page by page. */
const maxFollowed = { records: 20_000, bytes: 64 * 1024 * 1024 }
/** Between two log lines about a full copy, in milliseconds. */
const progressMs = 5_000
/**
 * How old changes may be that a failover loses, in milliseconds. A database that lost older changes is not followed.
 */
const maxLostMs = 5 * 60_000

export type Plan =
  | { readonly kind: 'current' }
  | { readonly kind: 'copy'; readonly reason: string; readonly accepted?: string }
  /** `accept`: the value of `--accept-history` with which the database would be followed. */
  | { readonly kind: 'reject'; readonly reason: string; readonly accept: string }

/** A change in the form that `--accept-history` has. */
export const formatPosition = ({ number, mark }: Position): string => `${number}:${mark}`

function parsePosition(name: string): Position {
  const [number, mark = ''] = name.split(':')
  return { number: Number(number), mark }
}

/**
 * Advances a mirror from a position to the newest change of the snapshot in which this runs. Does nothing if a change
 * of this replica has moved the mirror in the meantime.
 * @param position the mirror's position at the start of the transaction; a later one may be newer than the snapshot
 * @returns false if the mirror needs a full copy instead
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
 * Follows the database if possible; otherwise decides what to do. Runs in a snapshot.
 *
 * A mirror may be the last copy of its records. It is therefore not replaced by a database with another history, or
 * with an older state of its own history, such as an empty volume or a restored backup. There are two exceptions: a
 * failover to a standby that lagged loses the last changes and is followed automatically, and an operator may accept
 * the other history, once for each mirror.
 * @param accepts the change that `--accept-history` names
 */
export async function makePlan(database: Database, mirror: Mirror, accepts: string | undefined): Promise<Plan> {
  const { history } = mirror
  if (history === undefined) return { kind: 'copy', reason: mirror.rebuildReason ?? 'the mirror has no history' }
  const { head, known } = await database.head(history.position)
  if (!known) {
    const fresh = accepts === history.accepted ? undefined : accepts
    const { common, deleted, accepted, now } = await database.relation(
      history,
      fresh === undefined ? undefined : parsePosition(fresh),
    )
    if (accepted && fresh !== undefined) return { kind: 'copy', reason: 'its history was accepted', accepted: fresh }
    if (!deleted) {
      const ours = `the mirror holds change ${history.position.number}, which the database never had`
      if (common === undefined)
        return { kind: 'reject', reason: `${ours}: it is another database`, accept: formatPosition(head) }
      const { madeAt } = firstLost(history, common)
      if (madeAt === undefined || now - madeAt > maxLostMs)
        return {
          kind: 'reject',
          reason: `${ours}: it was restored to change ${common.number}`,
          accept: formatPosition(head),
        }
      return { kind: 'copy', reason: `the database lost the changes after ${common.number}, probably by a failover` }
    }
  }
  if (mirror.rebuildReason !== undefined) return { kind: 'copy', reason: mirror.rebuildReason }
  if (await follow(database, mirror, history.position)) return { kind: 'current' }
  return { kind: 'copy', reason: 'too much has changed to follow change by change' }
}

/** The first change after `common`, or one that is older than it. */
function firstLost({ position, earlier }: History, common: Position): Position {
  if (position.number - common.number > exactlyKnown) return common
  return earlier[earlier.indexOf(common) - 1] ?? position
}

/**
 * Rebuilds a mirror from the snapshot in which this runs.
 * @param accepted the value of `--accept-history` that allowed this history
 * @returns false if enough other replicas are making copies
 * @throws Problem if the mirror cannot be written
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

/**
 * When the next full copy may be made. Delays double, so that a repeated fault does not cause one copy after another.
 */
export class CopyPace {
  #next = 0
  #pauses = 0
  #last = 0

  /** Milliseconds until the next copy. */
  get waitMs(): number {
    return Math.max(0, this.#next - performance.now())
  }

  /** A copy was made or failed. */
  copied(): void {
    const now = performance.now()
    if (now - this.#last > pauses.forgottenMs) this.#pauses = 0
    this.#last = now
    const pause = Math.min(pauses.lastMs, pauses.firstMs * 2 ** this.#pauses++)
    // A random delay, so that replicas with the same fault do not all copy at the same time.
    this.#next = now + pause * (0.5 + Math.random())
  }
}

const pauses = { firstMs: 1_000, lastMs: 5 * 60_000, forgottenMs: 60 * 60_000 }

/** Between two comparisons of all records, and between two parts of a comparison, in milliseconds. */
const comparing = { everyMs: 60 * 60_000, partMs: 100 }

/**
 * Compares a mirror with its database, a few records at a time. Compares all records after the start and every hour.
 */
export class Comparison {
  #table = 0
  #after = ''
  #next = 0

  /** Milliseconds until the next part is due. */
  get waitMs(): number {
    return Math.max(0, this.#next - performance.now())
  }

  /** Compares the next records if the mirror is at the position of the snapshot in which this runs. */
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
    // A change or another process may have moved the mirror or its small tables in the meantime.
    const isThere = mirror.position !== undefined && isSamePosition(mirror.position, position)
    if (differs !== undefined && isThere && mirror.smallAt === position.number)
      mirror.markSuspect(`the record "${differs.key}" of ${table} differs from the database`)
    const last = expected.at(-1)
    this.#after = last?.key ?? ''
    if (last === undefined) this.#table++
  }

  /** Undefined if the mirror is damaged; the mirror notes that itself. */
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
