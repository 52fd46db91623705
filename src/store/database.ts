// The queries of a replica on the shared PostgreSQL database: changes since a position, full copies, and changes to
// make. No lock is held while the server waits for a replica.

import pg from 'pg'
import { Problem } from '../problem.js'
import type { NewerSmallRecords, Publication } from './attempt.js'
import { isSameMemory } from './bytes.js'
import { Connection, type Purpose, programName, timeouts } from './connection.js'
import { readOnlyServer, UnknownOutcome } from './database-errors.js'
import { exactlyKnown, type History, type Position } from './mirror-file.js'
import type { Write } from './overlay.js'
import { channel, lockKey, maxNewerRecords, type PublicationRow, publicationText } from './publication.js'
import { checkServer, migrate, rememberedChanges } from './schema.js'
import { smallTables, type Table, tables } from './store.js'

const { DatabaseError } = pg

/** The most that is read at once. At least one record is read. */
interface Page {
  readonly records: number
  readonly bytes: number
}
/** Of a full copy. HTTP requests are handled between two pages. */
const copyPage: Page = { records: 1_000, bytes: 1024 * 1024 }
/** Of a comparison. The server computes the hashes of a page in about a millisecond. */
const comparisonPage: Page = { records: 200, bytes: 256 * 1024 }

/** How many replicas may make a full copy of a database at the same time. */
const maxConcurrentCopies = 2
/**
 * Distances from the newest change to earlier ones. With these changes a mirror finds where another history branched
 * off.
 */
const distances = [
  ...Array.from({ length: exactlyKnown }, (_, i) => i + 1),
  ...Array.from({ length: 17 }, (_, power) => 2 ** power),
]
/** The most records of the small tables that are read ahead of the rest. */
const maxSmallRecords = 5_000

/** Bytes of a large value that are sent at once. A link has to carry them within `timeouts.response`. */
export const pieceBytes = 256 * 1024

/** Old changes are deleted after every so many changes. */
export const cleanUpEvery = 1_000

interface ChangeRow {
  readonly number: string
  readonly mark: string
  readonly made_at: number
}
const changeColumns = 'number, mark, floor(extract(epoch from made_at) * 1000)::float8 as made_at'
const positionOf = ({ number, mark, made_at }: ChangeRow): Position => ({
  number: Number(number),
  mark,
  madeAt: made_at,
})

/** How the database's history and a mirror's are related. */
export interface Relation {
  /** The newest change that both histories are known to have. */
  readonly common: Position | undefined
  readonly deleted: boolean
  readonly accepted: boolean
  /** By the database's clock, in milliseconds of the epoch. */
  readonly now: number
}

interface RecordRow {
  readonly table_name: string
  readonly key: Buffer
  /** In base64, which is a third longer than the bytes. PostgreSQL's own text form is twice as long. */
  readonly value: string | null
}

const recordColumns = "table_name, key, encode(value, 'base64') as value"

export type Published =
  | { readonly kind: 'made'; readonly position: Position }
  | { readonly kind: 'valid' }
  /** A record that was read has changed since. If few small records have changed, `newerSmall` has them. */
  | { readonly kind: 'changed'; readonly tables: readonly Table[]; readonly newerSmall: NewerSmallRecords | undefined }
  /** The database does not have the change whose state was read. */
  | { readonly kind: 'other history' }

/** The session that holds the lock of changes. */
export interface LockHolder {
  /** The application name of the session. */
  readonly name: string
  /** Whether the session was waiting for its client and was therefore ended. */
  readonly ended: boolean
  readonly heldMs: number
}

export class Database {
  readonly #sent: Buffer[] = []

  private constructor(readonly connection: Connection) {}

  /**
   * @param signal closes the connection
   * @param onEvent called for each change if the purpose is to follow, and when the connection is lost
   * @throws Problem `invalid_setting` for a server or a schema that this program does not support; errors of pg
   */
  static async connect(url: string, purpose: Purpose, signal: AbortSignal, onEvent = () => {}): Promise<Database> {
    const connection = await Connection.open(url, purpose, signal, onEvent)
    try {
      await checkServer(connection)
      await migrate(connection)
      if (purpose === 'follow') await connection.query(`listen ${channel}`)
      return new Database(connection)
    } catch (error) {
      connection.close()
      throw error
    }
  }

  /** @throws Error that says why the connection cannot be used any longer */
  check(): void {
    this.connection.check()
  }

  /** Closes the connection at once, even while a statement runs. */
  close(): void {
    this.connection.close()
  }

  /**
   * Returns the newest change, and whether the database knows `position`, so that a mirror can continue from it.
   * @throws Error if the server has become a standby
   */
  async head(position: Position | undefined): Promise<{ head: Position; known: boolean }> {
    const [row] = await this.connection.rows<ChangeRow & { known: boolean; standby: boolean }>(
      `select ${changeColumns}, exists (select from propetl_changes where number = $1 and mark = $2) as known,
         pg_is_in_recovery() as standby
       from propetl_changes order by number desc limit 1`,
      [position?.number ?? null, position?.mark ?? null],
    )
    if (row?.standby) throw readOnlyServer()
    if (!row) throw new Problem('storage_damaged', 'the table propetl_changes of the database is empty')
    return { head: positionOf(row), known: row.known }
  }

  /**
   * Some changes before `head`, newest first, and the very first one: those that mirrors keep. Call it in a snapshot.
   */
  async earlier({ number }: Position): Promise<Position[]> {
    const rows = await this.connection.rows<ChangeRow>(
      `select ${changeColumns} from propetl_changes where number = any ($1::bigint[]) order by number desc`,
      [[...new Set([...distances.map((distance) => number - distance), 0])].filter((each) => each < number)],
    )
    return rows.map(positionOf)
  }

  /**
   * Compares the database's history with that of a mirror whose position the database does not know.
   * @param accepted a change; `Relation.accepted` says whether the database has it
   */
  async relation({ position, earlier }: History, accepted: Position | undefined): Promise<Relation> {
    const [row] = await this.connection.rows<{
      common: string | null
      oldest: string | null
      accepted: boolean
      now: number
    }>(
      `select
         (select max(number) from propetl_changes join unnest($1::bigint[], $2::uuid[]) as known (n, m)
          on number = n and mark = m) as common,
         (select min(number) from propetl_changes where number > 0) as oldest,
         exists (select from propetl_changes where number = $3 and mark = $4) as accepted,
         floor(extract(epoch from now()) * 1000)::float8 as now`,
      [
        earlier.map(({ number }) => number),
        earlier.map(({ mark }) => mark),
        accepted?.number ?? null,
        accepted?.mark ?? null,
      ],
    )
    const common = row?.common ? earlier.find(({ number }) => number === Number(row.common)) : undefined
    return {
      common,
      // Every change that the database remembers is later. It has deleted the mirror's change.
      deleted: row?.oldest != null && Number(row.oldest) > position.number,
      accepted: row?.accepted ?? false,
      now: row?.now ?? 0,
    }
  }

  /** Tries to get one of the places for a full copy. The place is kept until the end of the transaction. */
  async claimCopy(): Promise<boolean> {
    for (let place = 0; place < maxConcurrentCopies; place++) {
      const [row] = await this.connection.rows<{ got: boolean }>('select pg_try_advisory_xact_lock($1, $2) as got', [
        lockKey,
        place,
      ])
      if (row?.got) return true
    }
    return false
  }

  /** The size of all changes since a position. Call it in a snapshot. */
  async changeSizeSince({ number }: Position): Promise<{ records: number; bytes: number }> {
    const [row] = await this.connection.rows<{ records: string; bytes: string }>(
      'select count(*) as records, coalesce(sum(octet_length(value)), 0) as bytes from propetl_records where change > $1',
      [number],
    )
    return { records: Number(row?.records), bytes: Number(row?.bytes) }
  }

  /** The current state of all records that have changed since a position. Call it in a snapshot. */
  async changedSince({ number }: Position): Promise<Write[]> {
    const rows = await this.connection.rows<RecordRow>(
      `select ${recordColumns} from propetl_records where change > $1`,
      [number],
      timeouts.records,
    )
    return writesOf(rows)
  }

  /**
   * The current state of the small records that have changed since change `number`.
   * @param position a change that the history must have
   * @returns undefined for another history, or for too many records
   */
  async smallSince(position: Position, number: number): Promise<NewerSmallRecords | undefined> {
    // One statement, so that the records belong to the state of the head.
    const rows = await this.connection.rows<RecordRow & { readonly head: string }>(
      `select head.number as head, coalesce(record.table_name, '') as table_name, record.key, record.value
       from (
         select max(number) as number from propetl_changes
         having exists (select from propetl_changes where number = $1 and mark = $2)
       ) as head left join (
         select ${recordColumns} from propetl_records
         where change > $3 and table_name = any ($4) limit ${maxSmallRecords}
       ) as record on true`,
      [position.number, position.mark, number, smallTables],
    )
    const [first] = rows
    if (first === undefined || rows.length === maxSmallRecords) return undefined
    return { smallAt: Number(first.head), writes: writesOf(rows) }
  }

  /**
   * The number of records, and the bytes of disk that a mirror of them takes. Long values have pages of their own in
   * lmdb.
   */
  async size(): Promise<{ records: number; diskBytes: number }> {
    const [row] = await this.connection.rows<{ records: string; bytes: string }>(
      `select count(*) as records, coalesce(sum(case when octet_length(value) > 1500
         then 4096 * ((octet_length(value) + 4111) / 4096) else 1.5 * octet_length(value) end
         + 2 * octet_length(key) + 64), 0)::bigint as bytes
       from propetl_records where value is not null`,
      [],
      timeouts.records,
    )
    return { records: Number(row?.records), diskBytes: Number(row?.bytes) }
  }

  /** All records, page by page. Call it in a snapshot. */
  async *pages(): AsyncIterable<readonly Write[]> {
    for (const table of tables) {
      let after: Buffer = Buffer.alloc(0)
      for (;;) {
        const rows = await this.#page<RecordRow>(recordColumns, table, after, copyPage)
        const end = rows.at(-1)
        if (end === undefined) break
        after = end.key
        yield writesOf(rows)
      }
    }
  }

  /** The next records of a table with their hashes (digest.ts); none after the last one. Call it in a snapshot. */
  async hashes(table: Table, after: string): Promise<{ key: string; hash: number }[]> {
    const hashed = `substring(sha256(convert_to(table_name, 'UTF8') || '\\x00' || key || '\\x00' || value) from 1 for 6)`
    const rows = await this.#page<{ key: Buffer; hash: Buffer }>(
      `key, ${hashed} as hash`,
      table,
      Buffer.from(after),
      comparisonPage,
    )
    return rows.map(({ key, hash }) => ({ key: key.toString(), hash: hash.readUIntBE(0, 6) }))
  }

  #page<T extends object>(columns: string, table: Table, after: Buffer, { records, bytes }: Page): Promise<T[]> {
    return this.connection.rows<T>(
      `select ${columns} from (
         select *, coalesce(sum(octet_length(value)) over (
           order by key rows between unbounded preceding and 1 preceding), 0) as bytes_before
         from (
           select table_name, key, value from propetl_records
           where table_name = $1 and key > $2 and value is not null order by key limit ${records}
         ) as page
       ) as sized where bytes_before < ${bytes} order by key`,
      [table, after],
      timeouts.records,
    )
  }

  /** Runs `read` in a transaction that sees one state of the database. */
  snapshot<T>(read: () => Promise<T>): Promise<T> {
    const idle = `set local idle_in_transaction_session_timeout = ${3 * timeouts.records}`
    return this.connection.transaction(`begin isolation level repeatable read, read only; ${idle}`, read)
  }

  /** Sends a value that a later change of this session writes. It takes no lock, and the session's end discards it. */
  async send(value: Buffer): Promise<void> {
    if (this.#sent.length === 0)
      await this.connection.query(
        `create temp table propetl_pieces (value integer not null, piece integer not null, bytes bytea not null);
         alter table propetl_pieces alter column bytes set storage external`,
      )
    for (let from = 0, piece = 0; from < value.byteLength; from += pieceBytes, piece++)
      await this.connection.rows('insert into pg_temp.propetl_pieces values ($1, $2, $3)', [
        this.#sent.length,
        piece,
        value.subarray(from, from + pieceBytes),
      ])
    this.#sent.push(value)
  }

  wasSent(value: Buffer): boolean {
    return this.#sent.some((sent) => isSameMemory(sent, value))
  }

  /**
   * Makes a change, unless a record that it read has changed.
   * @throws UnknownOutcome if the change may have been made or not; `outcome` finds out on another connection. With any
   *   other error it was not made
   */
  async publish(publication: Publication): Promise<Published> {
    this.check()
    const mark = crypto.randomUUID()
    const text = publicationText(publication, mark, (value) => this.#sentAs(value))
    let row: PublicationRow
    try {
      const results = await this.connection.query<PublicationRow>(
        text,
        this.connection.purpose === 'send' ? timeouts.records : undefined,
      )
      row = results.at(-1)?.rows[0] as PublicationRow
    } catch (error) {
      // If the server still responds, it has rolled the change back. Otherwise it may have failed after the commit.
      if (error instanceof DatabaseError && (await this.connection.isAlive())) throw error
      throw new UnknownOutcome(mark, this.connection.session, error)
    }
    if (!row.known) return { kind: 'other history' }
    if (row.changed) return { kind: 'changed', tables: row.changed, newerSmall: newerSmallRecordsOf(row) }
    if (row.number === null) return { kind: 'valid' }
    return { kind: 'made', position: { number: Number(row.number), mark, madeAt: row.made_at } }
  }

  /**
   * Finds out whether a change was made. Ends the session that made it, so that it cannot be made later.
   * @returns the change's position; undefined if it was not made; `'pending'` while the session still exists
   */
  async outcome({ mark, session }: UnknownOutcome): Promise<Position | 'pending' | undefined> {
    const sessions = await this.connection.rows(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and backend_type = 'client backend'",
      [session],
    )
    if (sessions.length > 0) return 'pending'
    const [row] = await this.connection.rows<ChangeRow>(
      `select ${changeColumns} from propetl_changes where mark = $1`,
      [mark],
    )
    return row && positionOf(row)
  }

  /**
   * The session that holds the lock of changes; undefined if the lock is free. If it is a replica's session and waits
   * for its client, it is ended.
   */
  async lockHolder(): Promise<LockHolder | undefined> {
    const [row] = await this.connection.rows<{ name: string; ended: boolean; seconds: string }>(
      `select application_name as name, extract(epoch from clock_timestamp() - xact_start) as seconds,
         case when application_name ~ '^${programName}(/|$)' and wait_event_type = 'Client'
           then pg_terminate_backend(pid) else false end as ended
       from pg_locks join pg_stat_activity using (pid)
       where locktype = 'advisory' and granted and classid = 0 and objid = ${lockKey} and objsubid = 1
         and pg_locks.database = (select oid from pg_database where datname = current_database())`,
    )
    return row && { name: row.name, ended: row.ended, heldMs: Math.round(Number(row.seconds) * 1_000) }
  }

  /** Deletes records and changes that no mirror needs any longer. Change 0 stays: its mark identifies the history. */
  async cleanUp({ number }: Position): Promise<void> {
    const last = number - rememberedChanges
    await this.connection.query(
      `set local statement_timeout = 0;
       select pg_advisory_xact_lock(${lockKey});
       delete from propetl_records where value is null and change <= ${last};
       delete from propetl_changes where number between 1 and ${last}`,
      timeouts.records,
    )
  }

  #sentAs(value: Buffer): string | undefined {
    const number = this.#sent.findIndex((sent) => isSameMemory(sent, value))
    if (number < 0) return undefined
    return `(select string_agg(bytes, '' order by piece) from pg_temp.propetl_pieces where value = ${number})`
  }
}

function newerSmallRecordsOf({ head, newer }: PublicationRow): NewerSmallRecords | undefined {
  if (newer?.length === maxNewerRecords) return undefined
  const writes = (newer ?? []).map(([table, key, value]) => ({
    table,
    key: Buffer.from(key, 'base64').toString(),
    value: value === null ? undefined : Buffer.from(value, 'base64'),
  }))
  return { smallAt: Number(head), writes }
}

const isTable = (name: string): name is Table => (tables as readonly string[]).includes(name)

/** Skips records of tables that only a later version of this program knows. */
const writesOf = (rows: readonly RecordRow[]): Write[] =>
  rows.flatMap(({ table_name: table, key, value }) =>
    isTable(table)
      ? [{ table, key: key.toString(), value: value === null ? undefined : Buffer.from(value, 'base64') }]
      : [],
  )
