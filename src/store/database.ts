// One connection to the shared PostgreSQL database: the schema, what was changed since a position, full copies, and
// changes, each made under one lock.

import pg from 'pg'
import { Problem } from '../problem.js'
import type { Position } from './mirror.js'
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

/** Bytes of values of a page, at least those of one record. */
const pageBytes = 8 * 1024 * 1024
const pageRecords = 1_000

const channel = 'propetl_changes'
/** Of the advisory lock, among those of other programs in the database. */
const lockKey = 0x70726f70
const oldestServer = 13

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
    const [row] = await this.#rows<{ number: string; mark: string; known: boolean }>(
      `select number, mark, exists (select from propetl_changes where number = $1 and mark = $2) as known
       from propetl_changes order by number desc limit 1`,
      [position?.number ?? null, position?.mark ?? null],
    )
    if (!row) throw new Problem('storage_damaged', 'the table propetl_changes of the database is empty')
    return { head: { number: Number(row.number), mark: row.mark }, known: row.known }
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

  /** How many records there are. */
  async count(): Promise<number> {
    const [row] = await this.#rows<{ records: string }>(
      'select count(*) as records from propetl_records where value is not null',
      [],
      timeouts.records,
    )
    return Number(row?.records)
  }

  /** All records, page by page. In a snapshot. */
  async *pages(): AsyncIterable<readonly Write[]> {
    let last: RecordRow = { table_name: '' as Table, key: Buffer.alloc(0), value: null }
    for (;;) {
      const rows: RecordRow[] = await this.#rows<RecordRow>(
        `select table_name, key, value from (
           select table_name, key, value, coalesce(sum(octet_length(value)) over (
             order by table_name, key rows between unbounded preceding and 1 preceding), 0) as bytes_before
           from (
             select table_name, key, value from propetl_records
             where (table_name, key) > ($1, $2) and value is not null order by table_name, key limit ${pageRecords}
           ) as page
         ) as sized where bytes_before < ${pageBytes} order by table_name, key`,
        [last.table_name, last.key],
        timeouts.records,
      )
      const end = rows.at(-1)
      if (end === undefined) return
      last = end
      yield writesOf(rows)
    }
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
    const [row] = await this.#rows<{ number: string; mark: string }>(
      `with change as (
         insert into propetl_changes (number) select max(number) + 1 from propetl_changes returning number, mark
       ), written as (
         insert into propetl_records (table_name, key, value, change)
         select unnest($1::text[]), unnest($2::bytea[]), unnest($3::bytea[]), number from change
         on conflict (table_name, key) do update set value = excluded.value, change = excluded.change
       )
       select number, mark, pg_notify('${channel}', '') from change`,
      [writes.map(({ table }) => table), writes.map(({ key }) => Buffer.from(key)), writes.map(({ value }) => value)],
      timeouts.records,
    )
    const position = { number: Number(row?.number), mark: row?.mark ?? '' }
    if (position.number % 1_000 === 0) await this.#forget(position.number - rememberedChanges)
    return position
  }

  async #forget(number: number): Promise<void> {
    await this.#rows('delete from propetl_records where value is null and change <= $1', [number], timeouts.records)
    await this.#rows('delete from propetl_changes where number <= $1', [number], timeouts.records)
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
