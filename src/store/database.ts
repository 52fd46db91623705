// One connection to the shared PostgreSQL database: the schema, what was changed since a position, full copies, and
// changes, each made under one lock.

import pg from 'pg'
import { Problem } from '../problem.js'
import { exactlyKnown, type Position, type Standing } from './mirror-file.js'
import type { Write } from './overlay.js'
import { migrations, rememberedChanges } from './schema.js'
import { type Table, tables } from './store.js'

const { Client, DatabaseError } = pg

/** What a connection may wait for, in milliseconds. */
const timeouts = {
  connect: 3_000,
  query: 5_000,
  /** Records on their way to or from the database. */
  records: 60_000,
  /** For the lock; another replica holds it for some milliseconds. */
  lock: 3_000,
  /** A replica that stops within a transaction loses it, and with it the lock. */
  idleInTransaction: 5_000,
}

/** How much of the records is read at once; at least one record. */
interface Page {
  readonly records: number
  readonly bytes: number
}
/** Of a full copy. Requests are answered between two pages. */
const copied: Page = { records: 1_000, bytes: 1024 * 1024 }
/** Of a comparison. The hashes of so much are computed in about a millisecond. */
const compared: Page = { records: 200, bytes: 256 * 1024 }

/** Full copies that replicas make of a database at the same time. */
const copiesAtOnce = 2
/** How far changes are before the newest one by which a mirror finds where another history branched off. */
const distances = [
  ...Array.from({ length: exactlyKnown }, (_, i) => i + 1),
  ...Array.from({ length: 17 }, (_, power) => 2 ** power),
]

const channel = 'propetl_changes'
/** Of the advisory lock, among those of other programs in the database. */
const lockKey = 0x70726f70
const oldestServer = 13

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

/** How two histories are related. */
export interface Relation {
  /** The newest change that is known to be of both. */
  readonly common: Position | undefined
  readonly forgotten: boolean
  readonly accepted: boolean
  /** By the database's clock, in milliseconds of the epoch. */
  readonly now: number
}

interface RecordRow {
  readonly table_name: Table
  readonly key: Buffer
  readonly value: Buffer | null
}

export class Database {
  private constructor(readonly client: pg.Client) {}

  /**
   * @param onChange called whenever a change was made, and when the connection is lost
   * @throws Problem `invalid_setting` for a server or a schema that this program does not work with; pg's errors
   */
  static async connect(url: string, onChange: () => void): Promise<Database> {
    const client = new Client({
      connectionString: url,
      connectionTimeoutMillis: timeouts.connect,
      query_timeout: timeouts.query,
      keepAlive: true,
      application_name: 'propetl',
    })
    client.on('notification', onChange)
    client.on('error', onChange)
    const database = new Database(client)
    try {
      await client.connect()
      await client.query(
        `set lock_timeout = ${timeouts.lock};
         set idle_in_transaction_session_timeout = ${timeouts.idleInTransaction};
         select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'`,
      )
      await database.#checkServer()
      await database.#migrate()
      await client.query(`listen ${channel}`)
      return database
    } catch (error) {
      database.close()
      throw error
    }
  }

  /** Ends the connection, whatever it is doing. */
  close(): void {
    // A polite end would wait for a server that may not answer any more.
    this.client.connection.stream.destroy()
  }

  /** The newest change, and whether a mirror that stands at `position` can go on from there. */
  async head(position: Position | undefined): Promise<{ head: Position; known: boolean }> {
    const [row] = await this.#rows<ChangeRow & { known: boolean }>(
      `select ${changeColumns}, exists (select from propetl_changes where number = $1 and mark = $2) as known
       from propetl_changes order by number desc limit 1`,
      [position?.number ?? null, position?.mark ?? null],
    )
    if (!row) throw new Problem('storage_damaged', 'the table propetl_changes of the database is empty')
    return { head: positionOf(row), known: row.known }
  }

  /** Some changes before `head`, newest first, as mirrors know them, and the first one of all. In a snapshot. */
  async earlier({ number }: Position): Promise<Position[]> {
    const rows = await this.#rows<ChangeRow>(
      `select ${changeColumns} from propetl_changes where number = any ($1::bigint[]) order by number desc`,
      [[...new Set([...distances.map((distance) => number - distance), 0])].filter((each) => each < number)],
    )
    return rows.map(positionOf)
  }

  /**
   * How the database's history is related to a mirror's that stands at a change which the database does not know.
   * @param accepted a change of which it is asked whether the database's history has it
   */
  async relation({ position, earlier }: Standing, accepted: Position | undefined): Promise<Relation> {
    const [row] = await this.#rows<{ common: string | null; oldest: string | null; accepted: boolean; now: number }>(
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
      // All that the database remembers was made later: it has forgotten the mirror's change.
      forgotten: row?.oldest != null && Number(row.oldest) > position.number,
      accepted: row?.accepted ?? false,
      now: row?.now ?? 0,
    }
  }

  /** Whether this replica may make a full copy now: only so many do at once. Holds until the end of the transaction. */
  async claimCopy(): Promise<boolean> {
    for (let place = 0; place < copiesAtOnce; place++) {
      const [row] = await this.#rows<{ got: boolean }>('select pg_try_advisory_xact_lock($1, $2) as got', [
        lockKey,
        place,
      ])
      if (row?.got) return true
    }
    return false
  }

  /** How much was changed since a position. In a snapshot, or under the lock. */
  async pending({ number }: Position): Promise<{ records: number; bytes: number }> {
    const [row] = await this.#rows<{ records: string; bytes: string }>(
      'select count(*) as records, coalesce(sum(octet_length(value)), 0) as bytes from propetl_records where change > $1',
      [number],
    )
    return { records: Number(row?.records), bytes: Number(row?.bytes) }
  }

  /** Everything that was changed since a position, as it is now. In a snapshot, or under the lock. */
  async changedSince({ number }: Position): Promise<Write[]> {
    const rows = await this.#rows<RecordRow>(
      'select table_name, key, value from propetl_records where change > $1',
      [number],
      timeouts.records,
    )
    return writesOf(rows)
  }

  /** How many records there are, and how many bytes of disk a mirror of them takes: long values have pages of their own. */
  async size(): Promise<{ records: number; diskBytes: number }> {
    const [row] = await this.#rows<{ records: string; bytes: string }>(
      `select count(*) as records, coalesce(sum(case when octet_length(value) > 1500
         then 4096 * ((octet_length(value) + 4111) / 4096) else 1.5 * octet_length(value) end
         + 2 * octet_length(key) + 64), 0)::bigint as bytes
       from propetl_records where value is not null`,
      [],
      timeouts.records,
    )
    return { records: Number(row?.records), diskBytes: Number(row?.bytes) }
  }

  /** All records, page by page. In a snapshot. */
  async *pages(): AsyncIterable<readonly Write[]> {
    for (const table of tables) {
      let after: Buffer = Buffer.alloc(0)
      for (;;) {
        const rows = await this.#page<RecordRow>('table_name, key, value', table, after, copied)
        const end = rows.at(-1)
        if (end === undefined) break
        after = end.key
        yield writesOf(rows)
      }
    }
  }

  /** The next records of a table and their hashes (digest.ts); none behind the last one. In a snapshot. */
  async hashes(table: Table, after: string): Promise<{ key: string; hash: number }[]> {
    const hashed = `substring(sha256(convert_to(table_name, 'UTF8') || '\\x00' || key || '\\x00' || value) from 1 for 6)`
    const rows = await this.#page<{ key: Buffer; hash: Buffer }>(
      `key, ${hashed} as hash`,
      table,
      Buffer.from(after),
      compared,
    )
    return rows.map(({ key, hash }) => ({ key: key.toString(), hash: hash.readUIntBE(0, 6) }))
  }

  #page<T extends object>(columns: string, table: Table, after: Buffer, { records, bytes }: Page): Promise<T[]> {
    return this.#rows<T>(
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

  /** Runs `read` on one state of the database. */
  snapshot<T>(read: () => Promise<T>): Promise<T> {
    const idle = `set local idle_in_transaction_session_timeout = ${timeouts.records}`
    return this.#transaction(`begin isolation level repeatable read, read only; ${idle}`, read)
  }

  /**
   * Makes a change while nobody else makes one.
   * @param make says what to write behind the newest change
   * @returns the change; undefined if nothing was to be written
   * @throws CommitError if it may have been made or not
   */
  change(make: () => Promise<readonly Write[]>): Promise<Position | undefined> {
    return this.#transaction(`begin; select pg_advisory_xact_lock(${lockKey})`, async () => {
      const writes = await make()
      return writes.length === 0 ? undefined : this.#write(writes)
    })
  }

  async #write(writes: readonly Write[]): Promise<Position> {
    const [row] = await this.#rows<ChangeRow>(
      `with change as (
         insert into propetl_changes (number) select max(number) + 1 from propetl_changes returning ${changeColumns}
       ), written as (
         insert into propetl_records (table_name, key, value, change)
         select unnest($1::text[]), unnest($2::bytea[]), unnest($3::bytea[]), number from change
         on conflict (table_name, key) do update set value = excluded.value, change = excluded.change
       )
       select number, mark, made_at, pg_notify('${channel}', '') from change`,
      [writes.map(({ table }) => table), writes.map(({ key }) => Buffer.from(key)), writes.map(({ value }) => value)],
      timeouts.records,
    )
    if (!row) throw new Problem('storage_damaged', 'the table propetl_changes of the database is empty')
    const position = positionOf(row)
    if (position.number % 1_000 === 0) await this.#forget(position.number - rememberedChanges)
    return position
  }

  async #forget(number: number): Promise<void> {
    await this.#rows('delete from propetl_records where value is null and change <= $1', [number], timeouts.records)
    // The mark of the first change is that of the history.
    await this.#rows('delete from propetl_changes where number between 1 and $1', [number], timeouts.records)
  }

  async #transaction<T>(begin: string, body: () => Promise<T>): Promise<T> {
    let result: T
    try {
      await this.client.query(begin)
      result = await body()
    } catch (error) {
      // Where the connection is gone, so is the transaction.
      await this.client.query('rollback').catch(() => {})
      throw error
    }
    try {
      await this.client.query('commit')
    } catch (error) {
      throw new CommitError(error as Error)
    }
    return result
  }

  async #checkServer(): Promise<void> {
    const [server] = await this.#rows<{ version: string; read_only: string }>(
      "select current_setting('server_version_num') as version, current_setting('transaction_read_only') as read_only",
    )
    if (Number(server?.version) < oldestServer * 10_000)
      throw new Problem('invalid_setting', `the database is older than PostgreSQL ${oldestServer}`)
    if (server?.read_only === 'on') throw new Error('the server is read-only: a standby, or one that is out of space')
  }

  /** Makes the schema, or brings it up to date; of several replicas that start at once, one does. */
  async #migrate(): Promise<void> {
    if ((await this.#version()) === migrations.length) return
    await this.#transaction(`begin; select pg_advisory_xact_lock(${lockKey})`, async () => {
      await this.#rows('create table if not exists propetl_schema (version integer not null)')
      const version = await this.#version()
      if (version > migrations.length)
        throw new Problem(
          'invalid_setting',
          `the database has schema ${version}, and this program knows ${migrations.length}: it was used by a later one`,
        )
      for (const migration of migrations.slice(version)) await this.client.query(migration)
      await this.#rows('delete from propetl_schema')
      await this.#rows('insert into propetl_schema values ($1)', [migrations.length])
    })
  }

  async #version(): Promise<number> {
    const [found] = await this.#rows<{ there: boolean }>("select to_regclass('propetl_schema') is not null as there")
    if (!found?.there) return 0
    const [row] = await this.#rows<{ version: number }>('select version from propetl_schema')
    return row?.version ?? 0
  }

  async #rows<Row extends object>(text: string, values: unknown[] = [], timeout = timeouts.query): Promise<Row[]> {
    const query = { text, values, query_timeout: timeout }
    return (await this.client.query<Row>(query)).rows
  }
}

/** The connection was lost, or the server failed, while a transaction was committed: it may have been or not. */
export class CommitError extends Error {
  constructor(override readonly cause: Error) {
    super(cause.message)
  }
}

/** Why something failed. Of several addresses of a host, what was said of the first. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError) return reasonOf(error.errors[0])
  return error instanceof Error ? error.message : String(error)
}

/** Whether it is this statement that the server refuses, and the connection goes on. */
export function isRefusal(error: unknown): error is pg.DatabaseError {
  return error instanceof DatabaseError && !/^(08|25|40|57)/.test(error.code ?? '')
}

/** Whether trying again is of no use until someone changes a setting or a right. */
export function isLasting(error: unknown): boolean {
  if (error instanceof Problem) return true
  return error instanceof DatabaseError && /^(28|3D|3F|42)/.test(error.code ?? '')
}

const known: ReadonlySet<string> = new Set(tables)

/** Records of tables that a later program added are none of this one's. */
const writesOf = (rows: readonly RecordRow[]): Write[] =>
  rows
    .filter(({ table_name }) => known.has(table_name))
    .map(({ table_name, key, value }) => ({ table: table_name, key: key.toString(), value: value ?? undefined }))
