// One connection to the shared PostgreSQL database: its settings, its timeouts, and statements. Every wait is bounded,
// both here and on the server. What the statements say is left to database.ts.

import { randomBytes } from 'node:crypto'
import { hostname } from 'node:os'
import pg from 'pg'
import { afterInactivity } from './inactivity.js'

const { Client, DatabaseError } = pg

/** Milliseconds. */
export const timeouts = {
  connect: 3_000,
  /** Until the server sends something. */
  response: 5_000,
  /** Until the server sends something while it reads or writes many records. */
  records: 20_000,
  /** To acquire the lock of changes, which a session normally holds for a few milliseconds. */
  lock: 2_000,
  /** A session that sends no statement within a transaction loses the transaction and its locks. */
  idleInTransaction: 2_000,
}

/** What a connection is for: following changes, making them, sending a large one, or asking for a change's outcome. */
export type Purpose = 'follow' | 'change' | 'send' | 'ask'

/**
 * How long a statement may run on the server, in milliseconds; 0 is no limit. Less than the timeout of its response.
 */
const statementTimeouts: Record<Purpose, number> = { follow: 0, ask: 0, change: 4_000, send: 15_000 }

/** TCP keep-alive on the server, in seconds. The server ends a session 25 s after its client became unreachable. */
const keepAlive = { idle: 10, interval: 5, count: 3 }

export const programName = 'propetl'
/** Names this process in `pg_stat_activity`, which truncates names to 63 bytes. */
const replica = `${hostname()
  .replace(/[^\w.-]/g, '-')
  .slice(0, 32)}:${process.pid}`

/**
 * Changes need read committed, whatever the role's default: each statement has to see what was committed before it.
 * Settings that the server's version does not have are skipped.
 */
const sessionSettings = `
  set default_transaction_isolation = 'read committed';
  set lock_timeout = ${timeouts.lock};
  set idle_in_transaction_session_timeout = ${timeouts.idleInTransaction};
  set tcp_keepalives_idle = ${keepAlive.idle};
  set tcp_keepalives_interval = ${keepAlive.interval};
  set tcp_keepalives_count = ${keepAlive.count};
  set tcp_user_timeout = ${(keepAlive.idle + keepAlive.interval * keepAlive.count) * 1_000};
  select set_config('client_connection_check_interval', '5s', false)
    from pg_settings where name = 'client_connection_check_interval';
  select set_config('synchronous_commit', 'on', false) where current_setting('synchronous_commit') = 'off'`

export class Connection {
  /** How many times the server has sent data. */
  #received = 0
  /** Why the connection cannot be used any longer. */
  #lost: Error | undefined

  private constructor(
    readonly client: pg.Client,
    readonly purpose: Purpose,
    /** Unique among the sessions of the database. */
    readonly session: string,
  ) {}

  /**
   * @param signal closes the connection
   * @param onEvent called for each notification, and when the connection is lost
   * @throws errors of pg
   */
  static async open(url: string, purpose: Purpose, signal: AbortSignal, onEvent: () => void): Promise<Connection> {
    const session = `${programName}/${replica}/${purpose}/${randomBytes(3).toString('hex')}`
    const client = new Client({
      connectionString: url,
      keepAlive: true,
      keepAliveInitialDelayMillis: keepAlive.idle * 1_000,
      application_name: session,
    })
    const connection = new Connection(client, purpose, session)
    client.on('notification', onEvent)
    client.on('error', (error) => {
      connection.#lost ??= error
      onEvent()
    })
    const close = () => connection.close()
    signal.addEventListener('abort', close)
    client.once('end', () => signal.removeEventListener('abort', close))
    try {
      signal.throwIfAborted()
      await connection.#withTimeout(() => client.connect(), timeouts.connect)
      client.connection.stream.on('data', () => {
        connection.#received++
      })
      await connection.query(`${sessionSettings}; set statement_timeout = ${statementTimeouts[purpose]}`)
      return connection
    } catch (error) {
      connection.close()
      throw error
    }
  }

  /** @throws Error that says why the connection cannot be used any longer */
  check(): void {
    if (this.#lost) throw this.#lost
  }

  /** Closes the connection at once, even while a statement runs. */
  close(): void {
    this.#lost ??= new Error('the connection was closed')
    // A graceful end would wait for a server that may no longer respond.
    this.client.connection.stream.destroy()
  }

  /** Runs one statement with parameters. */
  async rows<Row extends object>(text: string, values: unknown[] = [], silenceMs?: number): Promise<Row[]> {
    const { rows } = await this.#withTimeout(() => this.client.query<Row>(text, values), silenceMs)
    return rows
  }

  /** Runs statements without parameters. The server runs them as one transaction. */
  async query<Row extends object>(text: string, silenceMs?: number): Promise<pg.QueryResult<Row>[]> {
    // pg's types do not know that several statements have several results.
    const result: unknown = await this.#withTimeout(() => this.client.query<Row>(text), silenceMs)
    return Array.isArray(result) ? result : [result as pg.QueryResult<Row>]
  }

  async transaction<T>(begin: string, body: () => Promise<T>): Promise<T> {
    try {
      await this.query(begin)
      const result = await body()
      await this.query('commit')
      return result
    } catch (error) {
      // If the connection is lost, the server has ended the transaction.
      await this.query('rollback').catch(() => {})
      throw error
    }
  }

  async isAlive(): Promise<boolean> {
    return this.query('select').then(
      () => true,
      () => false,
    )
  }

  /** Closes the connection if the server sends nothing for `silenceMs` milliseconds. */
  async #withTimeout<T>(work: () => Promise<T>, silenceMs = timeouts.response): Promise<T> {
    const cancel = afterInactivity(
      silenceMs,
      () => this.#received,
      () => {
        this.#lost ??= new Error(`the database did not respond for ${silenceMs / 1_000} s`)
        this.close()
      },
    )
    try {
      return await work()
    } catch (error) {
      throw error instanceof DatabaseError ? error : (this.#lost ?? error)
    } finally {
      cancel()
    }
  }
}
