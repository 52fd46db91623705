// The store of many replicas: PostgreSQL holds the records, and this replica a mirror of them, which is all it reads. One
// connection follows the changes of all replicas, and one makes those of this one; a large change has a connection of its
// own. Changes run on the mirror, and the database takes them if what they read is still so. While the database is away,
// reading goes on.

import { EventEmitter, once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type pg from 'pg'
import type { Logger } from 'pino'
import { Gate } from '../costs/gate.js'
import { Problem } from '../problem.js'
import { Attempt, type NewerSmallRecords, type Publication } from './attempt.js'
import { cleanUpEvery, Database, type Published, pieceBytes } from './database.js'
import { isFull, isLasting, isLockTimeout, isRejection, reasonOf, UnknownOutcome } from './database-errors.js'
import { Comparison, CopyPace, copy, makePlan, type Plan } from './following.js'
import type { Mirror } from './mirror.js'
import { isSamePosition, type Position } from './mirror-file.js'
import { findOutcome } from './outcome.js'
import { PendingChange } from './pending.js'
import {
  type Following,
  type FollowingState,
  isSmallTable,
  type RecordRange,
  type Store,
  type StoreWriter,
  type Table,
} from './store.js'
import { WakeUp } from './wake-up.js'

/** A notification wakes the replica; it looks by itself this often, in milliseconds. */
const pollMs = 1_000
/** Before an attempt to connect, in milliseconds: doubled from the first to the last, and half of it by chance. */
const retryMs = { first: 100, last: 2_000 }
/** A connection that lasted so long, in milliseconds, was a good one. */
const stableMs = 1_000

/** Of changes that are made maxBatch. */
const maxBatch = { changes: 200, bytes: 256 * 1024 }
/** Large changes under way at one time, at most half of them of one owner. */
const maxConcurrentLarge = 2
/** From when it is asked for, how long a change is tried that others keep from being made, in milliseconds. */
const maxTryMs = { small: 6_000, large: 120_000 }
const minTries = 3
/** How long changes wait for a connection that was lost, as while the database is restarted, in milliseconds. */
const maxRestartMs = 5_000
/** How long to wait until a change that was made can be read here, in milliseconds. */
const maxVisibleMs = 5_000
/** Connections that a change may be lost with before it is refused. */
const maxLostConnections = 2

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

/** What kept changes from being made. */
type PublishResult =
  | { readonly kind: 'nothing' | 'lock' | 'newer tasks' }
  /** Others have changed nothing but these. */
  | { readonly kind: 'newer small records'; readonly newerSmall: NewerSmallRecords }

export class PostgresStore implements Store {
  /** The files are only a mirror: how that stands is told by `following`. */
  readonly failure = undefined
  readonly #mirror: Mirror
  readonly #logger: Pick<Logger, 'info' | 'warn'>
  readonly #waiting: PendingChange[] = []
  readonly #makerWakeUp = new WakeUp()
  readonly #followerWakeUp = new WakeUp()
  /** Emits `followed` when the mirror has come to the newest change. */
  readonly #progress = new EventEmitter().setMaxListeners(0)
  readonly #stop = new AbortController()
  readonly #large = new Gate(maxConcurrentLarge)
  readonly #acceptHistory: string | undefined
  readonly #pace = new CopyPace()
  readonly #comparison = new Comparison()
  /** What goes on beside the loops, each within a time. */
  readonly #background = new Set<Promise<void>>()
  /** A connection that is lost and replaced at once is none. */
  #obstacle: Obstacle | undefined = { state: 'away', reason: 'it has not been reached yet' }
  /** The obstacle that was logged last. */
  #logged: string | undefined
  /** When the connection was lost; undefined while there is one, and before there was any. */
  #lostAt: number | undefined
  #upToDateAt = Date.now()
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

  change<T>(change: (records: StoreWriter) => T, owner?: string): Promise<T> {
    const pending = new PendingChange(change, owner)
    this.#enqueue([pending as PendingChange])
    return pending.settled
  }

  abortChanges(): void {
    this.#stop.abort()
  }

  async close(): Promise<void> {
    this.abortChanges()
    await this.#running
    while (this.#background.size > 0) await Promise.all(this.#background)
    await this.#mirror.close()
  }

  /** Connects, works until a connection is lost, and begins again. */
  async #run(onReadable: () => void, onUnusable: (problem: Problem) => void): Promise<void> {
    const { signal } = this.#stop
    let retry = retryMs.first
    while (!signal.aborted) {
      const session = new AbortController()
      const end = () => session.abort()
      signal.addEventListener('abort', end)
      let followingSince: number | undefined
      try {
        const follower = await Database.connect(this.url, 'follow', session.signal, () => this.#followerWakeUp.wake())
        await this.#catchUp(follower)
        const maker = await Database.connect(this.url, 'change', session.signal, () => this.#makerWakeUp.wake())
        followingSince = performance.now()
        await this.#work(follower, maker, session, onReadable)
      } catch (error) {
        if (signal.aborted) break
        if (!this.#mirror.readable && isLasting(error)) return onUnusable(unusable(error))
        if (followingSince === undefined) this.#logObstacle({ state: 'away', reason: reasonOf(error) })
        else {
          this.#lostAt = performance.now()
          this.#logger.warn({ reason: reasonOf(error) }, 'the connection to the database is lost')
        }
        if (this.#mirror.readable) onReadable()
      } finally {
        session.abort()
        signal.removeEventListener('abort', end)
      }
      // A server that was restarted, or another one in its place, is often there at once.
      if (followingSince !== undefined && performance.now() - followingSince > stableMs) retry = retryMs.first
      await delay(retry * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {})
      retry = Math.min(2 * retry, retryMs.last)
    }
    rejectAll(this.#waiting.splice(0), stopping())
  }

  #nowFollowing(): void {
    if (this.#obstacle !== undefined)
      this.#logger.info({ change: this.#mirror.position?.number }, 'following the database')
    this.#obstacle = undefined
    this.#logged = undefined
    this.#lostAt = undefined
    this.#makerWakeUp.wake()
  }

  #logObstacle(obstacle: Obstacle, details: object = {}): void {
    const { state, reason } = obstacle
    const meanwhile = this.#mirror.readable
      ? 'what was copied from it is served, and changes are refused'
      : 'there is no copy of it that could be served: waiting for it'
    if (reason !== this.#logged) this.#logger.warn({ ...details, reason }, `${obstacles[state].logged}; ${meanwhile}`)
    this.#logged = reason
    this.#block(obstacle)
  }

  #block(obstacle: Obstacle): void {
    this.#obstacle = obstacle
    if (obstacle.state !== 'away') this.#lostAt = undefined
    if (!this.#mayBeRestarting) rejectAll(this.#waiting.splice(0), notMade(obstacle))
  }

  get #mayBeRestarting(): boolean {
    return this.#lostAt !== undefined && performance.now() - this.#lostAt < maxRestartMs
  }

  /** Follows and makes changes until one of the connections is lost, which ends the other. */
  async #work(follower: Database, maker: Database, session: AbortController, onReadable: () => void): Promise<void> {
    const { signal } = session
    signal.addEventListener('abort', () => {
      this.#followerWakeUp.wake()
      this.#makerWakeUp.wake()
    })
    const loops = [this.#follow(follower, signal, onReadable), this.#make(maker, signal)]
    try {
      await Promise.all(loops)
    } finally {
      session.abort()
      await Promise.allSettled(loops)
    }
  }

  async #follow(database: Database, signal: AbortSignal, onReadable: () => void): Promise<void> {
    while (!signal.aborted) {
      if (this.#mirror.readable) onReadable()
      await this.#followerWakeUp.wait(this.#idleMs)
      if (signal.aborted) return
      await this.#catchUp(database)
      if (this.#obstacle === undefined && this.#comparison.waitMs === 0)
        await database.snapshot(() => this.#comparison.part(database, this.#mirror))
    }
  }

  get #idleMs(): number {
    return this.#obstacle === undefined ? Math.min(pollMs, this.#comparison.waitMs) : pollMs
  }

  async #catchUp(database: Database): Promise<void> {
    for (;;) {
      const asked = Date.now()
      await this.#mirror.check()
      const { position } = this.#mirror
      const { head } = await database.head(position)
      const { rebuildReason, memoryFull } = this.#mirror
      if (position === undefined || !isSamePosition(head, position) || rebuildReason !== undefined || memoryFull) {
        const plan = await database.snapshot(() => makePlan(database, this.#mirror, this.#acceptHistory))
        if (!(await this.#execute(database, plan))) return
      }
      // Else a change of this replica has moved the mirror, and there may be more.
      if (!this.#isAt(head)) continue
      this.#upToDateAt = asked
      this.#nowFollowing()
      this.#progress.emit('followed')
      return
    }
  }

  /** @returns whether the mirror follows the database now */
  async #execute(database: Database, plan: Plan): Promise<boolean> {
    switch (plan.kind) {
      case 'current':
        return true
      case 'reject':
        this.#logObstacle({ state: 'other_history', reason: plan.reason }, { accept_history: plan.accept })
        return false
      case 'copy':
        if (this.#mirror.memoryFull)
          this.#logObstacle({
            state: 'mirror_failed',
            reason: 'the mirror cannot be written, nor more be kept in memory',
          })
        else if (this.#pace.waitMs > 0)
          this.#logObstacle({ state: 'copying', reason: `a full copy follows soon: ${plan.reason}` })
        else return this.#copy(database, plan)
        return false
    }
  }

  /** @returns whether a copy was made */
  async #copy(database: Database, plan: Plan & { readonly kind: 'copy' }): Promise<boolean> {
    this.#block({ state: 'copying', reason: plan.reason })
    try {
      const made = await database.snapshot(() => copy(database, this.#mirror, plan, this.#pace, this.#logger))
      if (!made) this.#block({ state: 'copying', reason: 'other replicas make full copies now' })
      return made
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.#logObstacle({ state: 'mirror_failed', reason: error.message })
      return false
    }
  }

  /** Brings the small tables alone up to date, also while something large is being followed. */
  async #followSmall(database: Database): Promise<void> {
    const { position, smallAt } = this.#mirror
    if (position === undefined) return
    const newerSmall = await database.smallSince(position, smallAt)
    if (newerSmall) await this.#mirror.advanceSmall(position, newerSmall.smallAt, newerSmall.writes)
  }

  async #make(database: Database, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (this.#waiting.length === 0) await this.#makerWakeUp.wait(pollMs)
      if (signal.aborted) return
      database.check()
      if (this.#waiting.length > 0) await this.#makeBatch(database)
      else if (Date.now() - this.#upToDateAt > 2 * pollMs) await this.#followSmall(database)
    }
  }

  /** Makes what waits and may be made maxBatch. */
  async #makeBatch(database: Database): Promise<void> {
    if (this.#mirror.position === undefined)
      return rejectAll(this.#waiting.splice(0), notMade({ state: 'copying', reason: 'the mirror cannot be read' }))
    let newerSmall: NewerSmallRecords | undefined
    do {
      const attempt = this.#attemptBatch(newerSmall)
      const { changes } = attempt
      if (changes.length === 0) return
      try {
        const result = await this.#publish(database, attempt)
        newerSmall = result.kind === 'newer small records' ? result.newerSmall : undefined
        if (result.kind === 'newer tasks') this.#runInBackground(this.#enqueueOnceFollowed(changes))
        else if (result.kind !== 'nothing') this.#enqueue(changes)
      } catch (error) {
        this.#handleFailure(changes, error)
      }
    } while (newerSmall !== undefined)
  }

  #attemptBatch(newerSmall: NewerSmallRecords | undefined): Attempt {
    const attempt = new Attempt(this.#mirror, newerSmall)
    while (attempt.changes.length < maxBatch.changes) {
      const change = this.#waiting.shift()
      if (change === undefined) break
      const problem = problemOfGivingUp(change, maxTryMs.small)
      if (problem) change.reject(problem)
      else if (!attempt.run(change, maxBatch.bytes)) {
        if (attempt.changes.length > 0) {
          this.#waiting.unshift(change)
          break
        }
        this.#runInBackground(this.#makeLarge(change))
      }
    }
    return attempt
  }

  /** Sends the values of a change before it is made, on a connection that nobody else waits for. */
  async #makeLarge(change: PendingChange): Promise<void> {
    const { signal } = this.#stop
    await this.#large.pass(change.owner, 1, async () => {
      let database: Database | undefined
      try {
        database = await Database.connect(this.url, 'send', signal)
        let newerSmall: NewerSmallRecords | undefined
        let problem: Problem | undefined
        while (problem === undefined) {
          const attempt = new Attempt(this.#mirror, newerSmall)
          attempt.run(change, Number.POSITIVE_INFINITY)
          for (const { value } of attempt.publication.writes)
            if (value && value.byteLength > pieceBytes && !database.wasSent(value)) await database.send(value)
          const result = await this.#publish(database, attempt)
          if (result.kind === 'nothing') return
          newerSmall = result.kind === 'newer small records' ? result.newerSmall : undefined
          if (result.kind === 'newer tasks') await this.#untilFollowed().catch(() => {})
          problem = problemOfGivingUp(change, maxTryMs.large)
        }
        change.reject(problem)
      } catch (error) {
        this.#handleLargeFailure(change, error)
      } finally {
        database?.close()
      }
    })
  }

  /**
   * Publishes what an attempt came to, and settles its changes if that was possible.
   * @returns what kept the changes from being made, so that they have to run again
   * @throws Error if the connection is not to be used any more, or the changes are refused
   */
  async #publish(database: Database, { changes, publication }: Attempt): Promise<PublishResult> {
    const settle = () => {
      for (const change of changes) change.settle()
    }
    const noteConflict = (problem: Problem) => {
      for (const change of changes) {
        change.lastConflict = problem
        change.conflicts++
      }
    }
    if (publication.spans.length === 0) {
      // What has read and written nothing follows all changes that were made before.
      const { head } = await database.head(undefined)
      this.#runInBackground(
        this.#untilReached(head)
          .catch(() => {})
          .then(settle),
      )
      return { kind: 'nothing' }
    }
    let published: Published
    try {
      published = await database.publish(publication)
    } catch (error) {
      if (!isLockTimeout(error)) throw error
      noteConflict(locked(await this.#lockHolder(database)))
      return { kind: 'lock' }
    }
    switch (published.kind) {
      case 'valid':
        settle()
        return { kind: 'nothing' }
      case 'made':
        await this.#applyToMirror(publication, published.position, database, settle)
        return { kind: 'nothing' }
      case 'changed': {
        noteConflict(outdated())
        const { tables, newerSmall } = published
        return newerSmall && tables.every(isSmallTable)
          ? { kind: 'newer small records', newerSmall }
          : { kind: 'newer tasks' }
      }
      case 'other history':
        throw new Error('the database is another one than was copied')
    }
  }

  /** Says in the log who holds the lock of changes. @returns what callers may know of it */
  async #lockHolder(database: Database): Promise<string | undefined> {
    const holder = await database.lockHolder()
    const what = holder?.ended ? 'and waited for its client: it was ended' : 'and the change is tried again'
    this.#logger.warn({ ...holder }, `another session holds the lock of changes, ${what}`)
    return holder?.name
  }

  /** Settles changes that were made once they can be read here; where that takes long, they come with following. */
  async #applyToMirror(
    { from, writes }: Publication,
    to: Position,
    database: Database,
    settle: () => void,
  ): Promise<void> {
    const late = (error: unknown) =>
      this.#logger.warn(
        { change: to.number, reason: reasonOf(error) },
        'a change was made that cannot be read here yet',
      )
    try {
      if (to.number === from.number + 1) await this.#mirror.advance(from, to, writes)
      else if (writes.some(({ table }) => isSmallTable(table))) await this.#followSmall(database)
    } catch (error) {
      late(error)
    }
    if (writes.every(({ table }) => isSmallTable(table)) || this.#isAt(to)) settle()
    else this.#runInBackground(this.#untilReached(to).catch(late).then(settle))
    if (to.number % cleanUpEvery === 0) await database.cleanUp(to).catch(() => {})
  }

  #isAt({ number }: Position): boolean {
    return (this.#mirror.position?.number ?? 0) >= number
  }

  async #untilReached(position: Position): Promise<void> {
    const signal = AbortSignal.timeout(maxVisibleMs)
    while (!this.#isAt(position)) await this.#untilFollowed(signal)
  }

  /** Resolves once the mirror is at a change that was the newest a moment ago. */
  async #untilFollowed(signal = AbortSignal.timeout(pollMs)): Promise<void> {
    this.#followerWakeUp.wake()
    await once(this.#progress, 'followed', { signal: AbortSignal.any([signal, this.#stop.signal]) })
  }

  /** Has changes run again once the mirror has what they result. */
  async #enqueueOnceFollowed(changes: readonly PendingChange[]): Promise<void> {
    await this.#untilFollowed().catch(() => {})
    this.#enqueue(changes)
  }

  /** Has changes wait, in the order in which they were asked for. */
  #enqueue(changes: readonly PendingChange[]): void {
    if (this.#stop.signal.aborted) rejectAll(changes, stopping())
    else if (this.#obstacle !== undefined && !this.#mayBeRestarting) rejectAll(changes, notMade(this.#obstacle))
    else {
      this.#waiting.push(...changes)
      this.#waiting.sort((a, b) => a.requestedAt - b.requestedAt)
      this.#makerWakeUp.wake()
    }
  }

  /** @throws the error, if the connection is not to be used any more */
  #handleFailure(changes: readonly PendingChange[], error: unknown): void {
    if (error instanceof Problem || isRejection(error)) {
      this.#logger.warn({ reason: reasonOf(error) }, 'changes were refused')
      rejectAll(changes, error instanceof Problem ? error : rejection(error))
      return
    }
    if (error instanceof UnknownOutcome) this.#runInBackground(this.#resolveUnknown(changes, error))
    else this.#retryLost(changes)
    throw error
  }

  #handleLargeFailure(change: PendingChange, error: unknown): void {
    try {
      this.#handleFailure([change], error)
    } catch {
      this.#logger.warn({ reason: reasonOf(error) }, 'the connection of a large change is lost')
    }
  }

  /** Changes that were not made, because the connection was lost, are tried once more. */
  #retryLost(changes: readonly PendingChange[]): void {
    for (const change of changes) change.lostConnections++
    const [again, given] = [changes.filter(isToBeTriedAgain), changes.filter((change) => !isToBeTriedAgain(change))]
    this.#enqueue(again)
    rejectAll(given, notMade(connectionLost))
  }

  async #resolveUnknown(changes: readonly PendingChange[], error: UnknownOutcome): Promise<void> {
    const outcome = await findOutcome(this.url, error, this.#stop.signal)
    switch (outcome.kind) {
      case 'made':
        await this.#untilReached(outcome.position).catch(() => {})
        for (const change of changes) change.settle()
        break
      case 'not made':
        this.#retryLost(changes)
        break
      case 'unknown':
        this.#logger.warn({ mark: error.mark, reason: outcome.reason }, 'it is not known whether changes were made')
        rejectAll(changes, unknown())
    }
  }

  #runInBackground(work: Promise<void>): void {
    const done = work.finally(() => this.#background.delete(done))
    this.#background.add(done)
  }
}

function rejectAll(changes: readonly PendingChange[], problem: Problem): void {
  for (const change of changes) change.reject(problem)
}

const isToBeTriedAgain = ({ lostConnections }: PendingChange): boolean => lostConnections < maxLostConnections

/** Why a change is tried no more. Time alone is no reason: this process may have stood still. */
const problemOfGivingUp = (
  { requestedAt, lastConflict, conflicts }: PendingChange,
  patience: number,
): Problem | undefined =>
  conflicts >= minTries && performance.now() - requestedAt > patience ? lastConflict : undefined

// The reason stands in the log: it names hosts and users, which are none of the caller's business.
const notMade = ({ state }: Obstacle) =>
  new Problem('storage_unavailable', `${obstacles[state].detail}; the change was not made`)
const connectionLost: Obstacle = { state: 'away', reason: 'the connection was lost again' }
const obstacles = {
  away: {
    logged: 'the database cannot be followed',
    detail: 'the database that holds the tasks cannot be used now',
  },
  copying: {
    logged: 'the mirror is to be made anew',
    detail: 'this replica makes a full copy of the database that holds the tasks',
  },
  other_history: {
    logged:
      'the database is not followed: connect to the right one, or start with --accept-history and the value of accept_history to take it over and lose what only the mirror has',
    detail: 'the database is not the one that this replica has a copy of, or lacks changes that the copy has',
  },
  mirror_failed: {
    logged: 'the mirror of the database cannot be written',
    detail: 'this replica cannot write its copy of the database that holds the tasks',
  },
} as const satisfies Record<Obstacle['state'], { logged: string; detail: string }>
const locked = (holder = 'another session') =>
  new Problem(
    'storage_unavailable',
    `the lock of changes in the database is held by ${holder}; the change was not made`,
    { lock_holder: holder },
  )
const outdated = () =>
  new Problem(
    'storage_unavailable',
    'other replicas changed the same again and again before this one had followed; the change was not made',
  )
const rejection = (error: pg.DatabaseError) =>
  isFull(error)
    ? new Problem('storage_failed', 'the database has no room left; the change was not made')
    : new Problem('storage_failed', 'the database refused the change')
const stopping = () => new Problem('shutting_down', 'the server is stopping; the change was not made')
const unknown = () =>
  new Problem(
    'outcome_unknown',
    'the database was lost while the change was committed: it may have been made or not; look, or ask again',
  )
const unusable = (error: unknown) =>
  error instanceof Problem ? error : new Problem('invalid_setting', `the database cannot be used: ${reasonOf(error)}`)
