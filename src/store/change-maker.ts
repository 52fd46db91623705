// Makes a replica's changes in the shared database. Changes that wait are made together in one transaction. A large
// change has a connection of its own, so that small changes need not wait while its values are sent.

import type pg from 'pg'
import type { Logger } from 'pino'
import { Gate } from '../costs/gate.js'
import { Problem, reasonOf } from '../problem.js'
import { Attempt, type NewerSmallRecords, type Publication } from './attempt.js'
import { type Availability, notMade } from './availability.js'
import { cleanUpEvery, Database, type Published, pieceBytes } from './database.js'
import { isFull, isLockTimeout, isRejection, UnknownOutcome } from './database-errors.js'
import { type Follower, pollMs } from './follower.js'
import type { Mirror } from './mirror.js'
import type { Position } from './mirror-file.js'
import { findOutcome } from './outcome.js'
import { PendingChange } from './pending.js'
import { isSmallTable, type StoreWriter } from './store.js'
import { WakeUp } from './wake-up.js'

/** The most that one transaction makes together. */
const maxBatch = { changes: 200, bytes: 256 * 1024 }
/** Large changes under way at the same time. At most half of them belong to one owner. */
const maxConcurrentLarge = 2
/** How long a change is retried that conflicts with changes of others, in milliseconds since it was requested. */
const maxTryMs = { small: 6_000, large: 120_000 }
/** This process may have been paused: time alone is no reason to give up a change. */
const minTries = 3
/** A change is rejected after so many connections were lost while it was being made. */
const maxLostConnections = 2

interface ChangeMakerOptions {
  readonly url: string
  readonly mirror: Mirror
  readonly follower: Follower
  readonly availability: Availability
  readonly logger: Pick<Logger, 'info' | 'warn'>
  /** Ends all work. */
  readonly stop: AbortSignal
}

/** What publishing an attempt came to: its changes were settled, or have to run again because of a conflict. */
type PublishResult =
  | { readonly kind: 'settled' | 'locked' | 'newer tasks' }
  /** Only small records are newer than those that were read. */
  | { readonly kind: 'newer small records'; readonly newerSmall: NewerSmallRecords }

export class ChangeMaker {
  readonly #waiting: PendingChange[] = []
  readonly #wakeUp = new WakeUp()
  readonly #large = new Gate(maxConcurrentLarge)
  /** Work that runs in addition to `run`. Each piece has a timeout. */
  readonly #background = new Set<Promise<void>>()

  constructor(readonly options: ChangeMakerOptions) {}

  change<T>(body: (records: StoreWriter) => T, owner?: string): Promise<T> {
    const pending = new PendingChange(body, owner)
    this.#enqueue([pending as PendingChange])
    return pending.settled
  }

  /** Looks at once whether there is something to do. */
  wake(): void {
    this.#wakeUp.wake()
  }

  /** The database became available or unavailable. */
  onAvailability(): void {
    const { problem } = this.options.availability
    if (problem) rejectAll(this.#waiting.splice(0), problem)
    else this.wake()
  }

  /** Makes changes until the signal is aborted. @throws Error if the connection is lost */
  async run(database: Database, signal: AbortSignal): Promise<void> {
    const { follower } = this.options
    while (!signal.aborted) {
      if (this.#waiting.length === 0) await this.#wakeUp.wait(pollMs)
      if (signal.aborted) return
      database.check()
      if (this.#waiting.length > 0) await this.#makeBatch(database)
      else if (Date.now() - follower.upToDateAt > 2 * pollMs) await follower.followSmall(database)
    }
  }

  /** Rejects the changes that still wait when the store stops. */
  rejectWaiting(): void {
    rejectAll(this.#waiting.splice(0), stopping())
  }

  /** Waits for the work in the background. */
  async close(): Promise<void> {
    while (this.#background.size > 0) await Promise.all(this.#background)
  }

  /** Makes the changes that wait and fit into one transaction. */
  async #makeBatch(database: Database): Promise<void> {
    if (this.options.mirror.position === undefined)
      return rejectAll(this.#waiting.splice(0), notMade({ state: 'copying' }))
    let newerSmall: NewerSmallRecords | undefined
    do {
      const attempt = this.#attemptBatch(newerSmall)
      const { changes } = attempt
      if (changes.length === 0) return
      try {
        const result = await this.#publish(database, attempt)
        newerSmall = result.kind === 'newer small records' ? result.newerSmall : undefined
        if (result.kind === 'newer tasks') this.#runInBackground(this.#enqueueOnceFollowed(changes))
        else if (result.kind !== 'settled') this.#enqueue(changes)
      } catch (error) {
        this.#handleFailure(changes, error)
      }
    } while (newerSmall !== undefined)
  }

  #attemptBatch(newerSmall: NewerSmallRecords | undefined): Attempt {
    const attempt = new Attempt(this.options.mirror, newerSmall)
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

  /** Sends the values of a change before it makes the change, on a connection of its own. */
  async #makeLarge(change: PendingChange): Promise<void> {
    const { url, mirror, follower, stop } = this.options
    await this.#large.pass(change.owner, 1, async () => {
      let database: Database | undefined
      try {
        database = await Database.connect(url, 'send', stop)
        let newerSmall: NewerSmallRecords | undefined
        let problem: Problem | undefined
        while (problem === undefined) {
          const attempt = new Attempt(mirror, newerSmall)
          attempt.run(change, Number.POSITIVE_INFINITY)
          for (const { value } of attempt.publication.writes)
            if (value && value.byteLength > pieceBytes && !database.wasSent(value)) await database.send(value)
          const result = await this.#publish(database, attempt)
          if (result.kind === 'settled') return
          newerSmall = result.kind === 'newer small records' ? result.newerSmall : undefined
          if (result.kind === 'newer tasks') await follower.untilFollowed().catch(() => {})
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
   * Publishes an attempt. Settles its changes unless they conflict with newer ones.
   * @throws Error if the connection must not be used any longer, or the changes are to be rejected
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
      // A change that reads and writes nothing waits until the mirror has all changes that were made before it.
      const { head } = await database.head(undefined)
      this.#runInBackground(
        this.options.follower
          .untilReached(head)
          .catch(() => {})
          .then(settle),
      )
      return { kind: 'settled' }
    }
    let published: Published
    try {
      published = await database.publish(publication)
    } catch (error) {
      if (!isLockTimeout(error)) throw error
      noteConflict(locked(await this.#lockHolder(database)))
      return { kind: 'locked' }
    }
    switch (published.kind) {
      case 'valid':
        settle()
        return { kind: 'settled' }
      case 'made':
        await this.#applyToMirror(publication, published.position, database, settle)
        return { kind: 'settled' }
      case 'changed': {
        noteConflict(outdated())
        const { tables, newerSmall } = published
        return newerSmall && tables.every(isSmallTable)
          ? { kind: 'newer small records', newerSmall }
          : { kind: 'newer tasks' }
      }
      case 'other history':
        throw new Error('the database is not the one that was copied')
    }
  }

  /** Logs which session holds the lock of changes. @returns the name that callers may see */
  async #lockHolder(database: Database): Promise<string | undefined> {
    const holder = await database.lockHolder()
    const what = holder?.ended ? 'and waited for its client: it was ended' : 'and the change is retried'
    this.options.logger.warn({ ...holder }, `another session holds the lock of changes, ${what}`)
    return holder?.name
  }

  /** Settles changes that were made once the mirror has them. If that takes long, the follower brings them. */
  async #applyToMirror(
    { from, writes }: Publication,
    to: Position,
    database: Database,
    settle: () => void,
  ): Promise<void> {
    const { mirror, follower, logger } = this.options
    const logDelay = (error: unknown) =>
      logger.warn({ change: to.number, reason: reasonOf(error) }, 'a change was made that cannot be read here yet')
    try {
      if (to.number === from.number + 1) await mirror.advance(from, to, writes)
      else if (writes.some(({ table }) => isSmallTable(table))) await follower.followSmall(database)
    } catch (error) {
      logDelay(error)
    }
    if (writes.every(({ table }) => isSmallTable(table)) || follower.isAt(to)) settle()
    else this.#runInBackground(follower.untilReached(to).catch(logDelay).then(settle))
    if (to.number % cleanUpEvery === 0) await database.cleanUp(to).catch(() => {})
  }

  /** Runs changes again once the mirror has the changes that they conflict with. */
  async #enqueueOnceFollowed(changes: readonly PendingChange[]): Promise<void> {
    await this.options.follower.untilFollowed().catch(() => {})
    this.#enqueue(changes)
  }

  /** Adds changes in the order in which they were requested, or rejects them if no changes can be made now. */
  #enqueue(changes: readonly PendingChange[]): void {
    const problem = this.options.stop.aborted ? stopping() : this.options.availability.problem
    if (problem) rejectAll(changes, problem)
    else {
      this.#waiting.push(...changes)
      this.#waiting.sort((a, b) => a.requestedAt - b.requestedAt)
      this.wake()
    }
  }

  /** @throws the error, if the connection must not be used any longer */
  #handleFailure(changes: readonly PendingChange[], error: unknown): void {
    if (error instanceof Problem || isRejection(error)) {
      this.options.logger.warn({ reason: reasonOf(error) }, 'changes were rejected')
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
      this.options.logger.warn({ reason: reasonOf(error) }, 'the connection of a large change is lost')
    }
  }

  /** Retries changes that were not made because the connection was lost. */
  #retryLost(changes: readonly PendingChange[]): void {
    for (const change of changes) change.lostConnections++
    const mayRetry = ({ lostConnections }: PendingChange) => lostConnections < maxLostConnections
    this.#enqueue(changes.filter(mayRetry))
    rejectAll(
      changes.filter((change) => !mayRetry(change)),
      notMade({ state: 'away' }),
    )
  }

  async #resolveUnknown(changes: readonly PendingChange[], error: UnknownOutcome): Promise<void> {
    const { url, follower, logger, stop } = this.options
    const outcome = await findOutcome(url, error, stop)
    switch (outcome.kind) {
      case 'made':
        await follower.untilReached(outcome.position).catch(() => {})
        for (const change of changes) change.settle()
        break
      case 'not made':
        this.#retryLost(changes)
        break
      case 'unknown':
        logger.warn({ mark: error.mark, reason: outcome.reason }, 'it is unknown whether changes were made')
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

/** Undefined for a change that is to be tried again. */
const problemOfGivingUp = (change: PendingChange, maxMs: number): Problem | undefined =>
  change.conflicts >= minTries && performance.now() - change.requestedAt > maxMs ? change.lastConflict : undefined

const locked = (holder = 'another session') =>
  new Problem(
    'storage_unavailable',
    `the lock of changes in the database is held by ${holder}; the change was not made`,
    { lock_holder: holder },
  )
const outdated = () =>
  new Problem(
    'storage_unavailable',
    'other replicas kept changing the same records while this replica made the change; the change was not made',
  )
const rejection = (error: pg.DatabaseError) =>
  isFull(error)
    ? new Problem('storage_failed', 'the disk of the database is full; the change was not made')
    : new Problem('storage_failed', 'the database rejected the change; the change was not made')
const stopping = () => new Problem('shutting_down', 'the server is shutting down; the change was not made')
const unknown = () =>
  new Problem(
    'outcome_unknown',
    'the connection to the database was lost while the change was committed; the change may have been made or not: ' +
      'check, or send the request again',
  )
