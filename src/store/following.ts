// How a mirror comes to the state of its database: change by change where it can, else by a full copy.

import type { Logger } from 'pino'
import type { Database } from './database.js'
import { isSame, type Mirror } from './mirror.js'

/** More than this is not followed in one transaction; a full copy is made, in pages. */
const followedAtMost = { records: 20_000, bytes: 64 * 1024 * 1024 }
/** Between lines about a full copy, in milliseconds. */
const progressMs = 5_000

/**
 * Brings a mirror to the newest change that the transaction sees in which this runs.
 * @returns whether it could; else it takes a full copy
 */
export async function follow(database: Database, mirror: Mirror): Promise<boolean> {
  for (;;) {
    const { position } = mirror
    const { head, known } = await database.head(position)
    if (position === undefined || !known) return false
    if (isSame(head, position)) return true
    const { records, bytes } = await database.pending(position)
    if (records > followedAtMost.records || bytes > followedAtMost.bytes) return false
    await mirror.advance(position, head, await database.changedSince(position))
  }
}

/** Makes a mirror anew, of the state that the snapshot has in which this runs. */
export async function copy(database: Database, mirror: Mirror, logger: Pick<Logger, 'info'>): Promise<void> {
  const { head } = await database.head(undefined)
  const total = await database.count()
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
  logger.info({ total, change: head.number }, 'making a full copy of the database')
  await mirror.replace(head, counted())
  logger.info({ copied }, 'the full copy of the database is complete')
}
