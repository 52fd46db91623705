// The store of many replicas: PostgreSQL holds the records, and this replica a mirror of them, which is all it reads.
// One loop over one connection follows the changes of all replicas and makes those of this one; while the database is
// away, reading goes on.

import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Problem } from '../problem.js'
import { Bell } from './bell.js'
import { CommitError, Database, isLasting, isRefusal, reasonOf } from './database.js'
import { Comparison, CopyPace, copy, follow, type Plan, planned } from './following.js'
import type { Mirror } from './mirror.js'
import { isSame, type Position } from './mirror-file.js'
import { Overlay } from './overlay.js'
import { PendingChange } from './pending.js'
import type { Following, FollowingState, RecordRange, Store, StoreWriter, Table } from './store.js'

/** A notification wakes the replica; it looks by itself this often, in milliseconds. */
const pollMs = 1_000
/** Between attempts to connect, in milliseconds: doubled from the first to the last. */
const retryMs = { first: 100, last: 2_000 }
/** Bytes of values after which a transaction takes no further change. */
const transactionBytes = 8 * 1024 * 1024
/** Transactions that a change may be lost with before it is refused. */
const attemptsAtMost = 2

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`, as pg reads it. */
  readonly url: string
  readonly mirror: Mirror
  readonly logger: Pick<Logger, 'info' | 'warn'>
  /** A change whose history is followed even if it is not the mirror's (following.ts). */
  readonly acceptHistory?: string | undefined
  /** Ends the wait for a database that is not there. */
  readonly signal?: AbortSignal | undefined
}

/** Why changes are refused now. */
interface Obstacle {
  readonly state: Exclude<FollowingState, 'following'>
  readonly reason: string
}

export class PostgresStore implements Store {
  /** The files are only a mirror: how that stands is told by `following`. */
  readonly trouble = undefined
  readonly #mirror: Mirror
  readonly #logger: Pick<Logger, 'info' | 'warn'>
  readonly #waiting: PendingChange[] = []
  readonly #bell = new Bell()
  readonly #stop = new AbortController()
  readonly #acceptHistory: string | undefined
  readonly #pace = new CopyPace()
  readonly #comparison = new Comparison()
  /** A connection that is lost and replaced at once is none. */
  #obstacle: Obstacle | undefined = { state: 'away', reason: 'it has not been reached yet' }
  /** The obstacle that was logged last. */
  #logged: string | undefined
  #upToDateAt = Date.now()
  #database: Database | undefined
  #running = Promise.resolve()

  private constructor(
    readonly url: string,
    { mirror, logger, acceptHistory }: PostgresOptions,
  ) {
    this.#mirror = mirror
    this.#logger = logger
    this.#acceptHistory = acceptHistory
  }

  /**
   * Resolves once there is something to read: the state of the database, or, while that is away, the mirror's. Without
   * either it waits for the database.
   * @throws Problem `invalid_setting` for a database that refuses this program, if there is no mirror to go on with
   */
  static async open(options: PostgresOptions): Promise<PostgresStore> {
    const store = new PostgresStore(options.url, options)
    const { signal } = options
    const started = new Promise<void>((resolve, reject) => {
      const abort = () => reject(new Problem('shutting_down', 'stopped while it waited for the database'))
      if (signal?.aborted) abort()
      signal?.addEventListener('abort', abort)
      store.#running = store.#run(resolve, reject)
    })
    try {
      await started
      return store
    } catch (error) {
      await store.close()
      throw error
    }
  }

  get following(): Following {
    const { copies, damaged, unwrittenBytes } = this.#mirror
    return {
      connected: this.#obstacle === undefined,
      state: this.#obstacle?.state ?? 'following',
      upToDateAt: this.#upToDateAt,
      mirror: { copies, damaged, unwrittenBytes },
    }
  }

  get(table: Table, key: string): Buffer | undefined {
    return this.#mirror.get(table, key)
  }

  prefetch(table: Table, key: string): Promise<void> {
    return this.#mirror.prefetch(table, key)
  }

  range(table: Table, range?: RecordRange): Iterable<readonly [string, Buffer]> {
    return this.#mirror.range(table, range)
  }

  count(table: Table): number {
    return this.#mirror.count(table)
  }

  change<T>(change: (records: StoreWriter) => T): Promise<T> {
    const pending = new PendingChange(change)
    this.#waiting.push(pending as PendingChange)
    if (this.#stop.signal.aborted) this.#refuse(this.#waiting, stopped())
    else if (this.#obstacle === undefined) this.#bell.ring()
    else this.#refuse(this.#waiting, unmade(this.#obstacle))
    return pending.settled
  }

  endChanges(): void {
    this.#stop.abort()
    this.#bell.ring()
    this.#database?.close()
  }

  async close(): Promise<void> {
    this.endChanges()
    await this.#running
    await this.#mirror.close()
  }

  /** Connects, works until the connection is lost, and begins again. */
  async #run(onReadable: () => void, onUnusable: (problem: Problem) => void): Promise<void> {
    let retry = retryMs.first
    while (!this.#stop.signal.aborted) {
      let followed = false
      try {
        this.#database = await Database.connect(this.url, () => this.#bell.ring())
        await this.#catchUp(this.#database)
        followed = true
        retry = retryMs.first
        await this.#work(this.#database, onReadable)
      } catch (error) {
        if (this.#stop.signal.aborted) break
        if (!this.#mirror.readable && isLasting(error)) return onUnusable(unusable(error))
        if (followed) this.#logger.warn({ reason: reasonOf(error) }, 'the connection to the database is lost')
        else this.#blocked({ state: 'away', reason: reasonOf(error) })
        if (this.#mirror.readable) onReadable()
      } finally {
        this.#database?.close()
        this.#database = undefined
      }
      // A server that was restarted, or another one in its place, is there at once.
      if (followed) continue
      await delay(retry, undefined, { signal: this.#stop.signal }).catch(() => {})
      retry = Math.min(2 * retry, retryMs.last)
    }
    this.#refuse(this.#waiting, stopped())
  }

  #back(): void {
    if (this.#obstacle !== undefined)
      this.#logger.info({ change: this.#mirror.position?.number }, 'following the database')
    this.#obstacle = undefined
    this.#logged = undefined
  }

  #blocked(obstacle: Obstacle, details: object = {}): void {
    const { state, reason } = obstacle
    const meanwhile = this.#mirror.readable
      ? 'what was copied from it is served, and changes are refused'
      : 'there is no copy of it that could be served: waiting for it'
    if (reason !== this.#logged) this.#logger.warn({ ...details, reason }, `${obstacles[state].logged}; ${meanwhile}`)
    this.#logged = reason
    this.#obstacle = obstacle
    this.#refuse(this.#waiting, unmade(obstacle))
  }

  async #work(database: Database, onReadable: () => void): Promise<void> {
    while (!this.#stop.signal.aborted) {
      if (this.#mirror.readable) onReadable()
      if (this.#waiting.length === 0) await this.#bell.rung(this.#idleMs)
      if (this.#waiting.length > 0) await this.#makeChanges(database)
      else await this.#catchUp(database)
      if (this.#obstacle === undefined && this.#comparison.waitMs === 0)
        await database.snapshot(() => this.#comparison.part(database, this.#mirror))
    }
  }

  get #idleMs(): number {
    return this.#obstacle === undefined ? Math.min(pollMs, this.#comparison.waitMs) : pollMs
  }

  async #catchUp(database: Database): Promise<void> {
    const asked = Date.now()
    await this.#mirror.look()
    const { position } = this.#mirror
    const { head } = await database.head(position)
    const { flaw, full } = this.#mirror
    if (position === undefined || !isSame(head, position) || flaw !== undefined || full) {
      const plan = await database.snapshot(() => planned(database, this.#mirror, this.#acceptHistory))
      if (!(await this.#carryOut(database, plan))) return
    }
    this.#upToDateAt = asked
    this.#back()
  }

  /** @returns whether the mirror follows the database now */
  async #carryOut(database: Database, plan: Plan): Promise<boolean> {
    switch (plan.kind) {
      case 'current':
        return true
      case 'refuse':
        this.#blocked({ state: 'other_history', reason: plan.because }, { accept_history: plan.accept })
        return false
      case 'copy':
        if (this.#mirror.full)
          this.#blocked({ state: 'mirror_failed', reason: 'the mirror cannot be written, nor more be kept in memory' })
        else if (this.#pace.waitMs > 0)
          this.#blocked({ state: 'copying', reason: `a full copy follows soon: ${plan.because}` })
        else return this.#copy(database, plan)
        return false
    }
  }

  /** @returns whether a copy was made */
  async #copy(database: Database, plan: Plan & { readonly kind: 'copy' }): Promise<boolean> {
    this.#obstacle = { state: 'copying', reason: plan.because }
    this.#refuse(this.#waiting, unmade(this.#obstacle))
    try {
      const made = await database.snapshot(() => copy(database, this.#mirror, plan, this.#pace, this.#logger))
      if (!made) this.#obstacle = { state: 'copying', reason: 'other replicas make full copies now' }
      return made
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.#blocked({ state: 'mirror_failed', reason: error.message })
      return false
    }
  }

  /** Makes what waits, in one transaction behind everybody's changes. */
  async #makeChanges(database: Database): Promise<void> {
    const asked = Date.now()
    const batch: PendingChange[] = []
    const overlay = new Overlay(this.#mirror)
    let from: Position | undefined
    let to: Position | undefined
    try {
      to = await database.change(async () => {
        if (!(await follow(database, this.#mirror))) throw new TooFarBehind()
        from = this.#mirror.position
        while (overlay.bytes < transactionBytes) {
          const change = this.#waiting.shift()
          if (change === undefined) break
          batch.push(change)
          const own = new Overlay(overlay)
          if (change.run(own)) overlay.take(own)
        }
        return overlay.writes
      })
    } catch (error) {
      if (error instanceof TooFarBehind) return this.#catchUp(database)
      return this.#notMade(batch, error)
    }
    this.#upToDateAt = asked
    // Whatever becomes of the mirror, the changes were made.
    if (from && to) await this.#mirror.advance(from, to, overlay.writes)
    for (const change of batch) change.settle()
  }

  /** @throws the error, if the connection is not to be used any more */
  #notMade(batch: PendingChange[], error: unknown): void {
    if (error instanceof CommitError) {
      this.#refuse(batch, unknown())
      throw error
    }
    if (error instanceof Problem || isRefusal(error)) {
      this.#logger.warn({ reason: reasonOf(error) }, 'changes were refused')
      const problem =
        error instanceof Problem ? error : new Problem('storage_failed', 'the database refused the change')
      // What waits behind would meet the same.
      this.#refuse(batch, problem)
      this.#refuse(this.#waiting, problem)
      return
    }
    this.#waiting.unshift(...batch.filter(({ attempts }) => attempts < attemptsAtMost))
    this.#refuse(
      batch.filter(({ attempts }) => attempts >= attemptsAtMost),
      unmade({ state: 'away', reason: '' }),
    )
    throw error
  }

  #refuse(changes: PendingChange[], problem: Problem): void {
    for (const change of changes.splice(0)) change.refuse(problem)
  }
}

class TooFarBehind extends Error {}

// The reason stands in the log: it names hosts and users, which are none of the caller's business.
const unmade = ({ state }: Obstacle) =>
  new Problem('storage_unavailable', `${obstacles[state].answered}; the change was not made`)
const obstacles = {
  away: {
    logged: 'the database cannot be followed',
    answered: 'the database that holds the tasks cannot be used now',
  },
  copying: {
    logged: 'the mirror is to be made anew',
    answered: 'this replica makes a full copy of the database that holds the tasks',
  },
  other_history: {
    logged:
      'the database is not followed: connect to the right one, or start with --accept-history and the value of accept_history to take it over and lose what only the mirror has',
    answered: 'the database is not the one that this replica has a copy of, or lacks changes that the copy has',
  },
  mirror_failed: {
    logged: 'the mirror of the database cannot be written',
    answered: 'this replica cannot write its copy of the database that holds the tasks',
  },
} as const satisfies Record<Obstacle['state'], { logged: string; answered: string }>
const stopped = () => new Problem('shutting_down', 'the server is stopping; the change was not made')
const unknown = () =>
  new Problem(
    'outcome_unknown',
    'the database was lost while the change was committed: it may have been made or not; look, or ask again',
  )
const unusable = (error: unknown) =>
  error instanceof Problem ? error : new Problem('invalid_setting', `the database cannot be used: ${reasonOf(error)}`)
