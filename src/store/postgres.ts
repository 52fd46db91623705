// The store of several replicas. PostgreSQL holds the records; each replica reads only its local mirror of them. One
// connection follows the changes of all replicas, another makes this replica's own. Changes run on the mirror, and the
// database accepts them if what they read is still current. While the database is unreachable, reads continue.

import { setTimeout as delay } from 'node:timers/promises'
import type { Logger } from 'pino'
import { Problem, reasonOf } from '../problem.js'
import { Availability } from './availability.js'
import { ChangeMaker } from './change-maker.js'
import { Database } from './database.js'
import { isLasting } from './database-errors.js'
import { Follower } from './follower.js'
import type { Mirror } from './mirror.js'
import type { Following, RecordRange, SharedFile, Store, StoreWriter, Table } from './store.js'

/** Delay before an attempt to connect, in milliseconds. It doubles from the first to the last; up to half is random. */
const retryMs = { first: 100, last: 2_000 }
/** A connection that lasted this long, in milliseconds, resets the delay. */
const stableMs = 1_000

export interface PostgresOptions {
  /** `postgres://user:password@host:port/database`, as pg reads it. */
  readonly url: string
  readonly mirror: Mirror
  readonly logger: Pick<Logger, 'info' | 'warn'>
  /** A change. Its history is followed even if it is not the mirror's (following.ts). */
  readonly acceptHistory?: string | undefined
  /** Ends the wait for a database that cannot be reached. */
  readonly signal?: AbortSignal | undefined
}

export class PostgresStore implements Store {
  /** The local files are only a mirror, and `following` reports their state. */
  readonly failure = undefined
  readonly #mirror: Mirror
  readonly #stop = new AbortController()
  readonly #availability: Availability
  readonly #follower: Follower
  readonly #maker: ChangeMaker
  #running = Promise.resolve()

  private constructor(
    readonly url: string,
    { mirror, logger, acceptHistory }: PostgresOptions,
  ) {
    const stop = this.#stop.signal
    this.#mirror = mirror
    const availability = new Availability(mirror, logger, () => this.#maker.onAvailability())
    const follower = new Follower({ mirror, availability, logger, acceptHistory, stop })
    this.#maker = new ChangeMaker({ url, mirror, follower, availability, logger, stop })
    this.#availability = availability
    this.#follower = follower
  }

  /**
   * Resolves once there is something to read: the state of the database or, while it is unreachable, the mirror's. If
   * there is neither, this waits for the database.
   * @throws Problem `invalid_setting` for a database that this program cannot use, if there is no mirror to serve
   */
  static async open(options: PostgresOptions): Promise<PostgresStore> {
    const store = new PostgresStore(options.url, options)
    const { signal } = options
    const started = new Promise<void>((resolve, reject) => {
      const abort = () => reject(new Problem('shutting_down', 'stopped while waiting for the database'))
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
    const { obstacle } = this.#availability
    return {
      connected: obstacle === undefined,
      state: obstacle?.state ?? 'following',
      upToDateAt: this.#follower.upToDateAt,
      mirror: { copies, damaged, unwrittenBytes },
    }
  }

  get sharedFile(): SharedFile | undefined {
    return this.#mirror.sharedFile
  }

  set onSharedFile(report: () => void) {
    this.#mirror.onSharedFile = report
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
    return this.#maker.change(change, owner)
  }

  abortChanges(): void {
    this.#stop.abort()
  }

  async close(): Promise<void> {
    this.abortChanges()
    await this.#running
    await this.#maker.close()
    await this.#mirror.close()
  }

  /** Connects, works until a connection is lost, and starts again. */
  async #run(onReadable: () => void, onUnusable: (problem: Problem) => void): Promise<void> {
    const { signal } = this.#stop
    let retry = retryMs.first
    while (!signal.aborted) {
      const session = new AbortController()
      const end = () => session.abort()
      signal.addEventListener('abort', end)
      let followingSince: number | undefined
      try {
        const follower = await Database.connect(this.url, 'follow', session.signal, () => this.#follower.wake())
        await this.#follower.catchUp(follower)
        const maker = await Database.connect(this.url, 'change', session.signal, () => this.#maker.wake())
        followingSince = performance.now()
        await this.#work(follower, maker, session, onReadable)
      } catch (error) {
        if (signal.aborted) break
        if (!this.#mirror.readable && isLasting(error)) return onUnusable(unusable(error))
        const reason = reasonOf(error)
        if (followingSince === undefined) this.#availability.blockAndLog({ state: 'away', reason })
        else this.#availability.connectionLost(reason)
        if (this.#mirror.readable) onReadable()
      } finally {
        session.abort()
        signal.removeEventListener('abort', end)
      }
      // A restarted server, or another one in its place, is often reachable at once.
      if (followingSince !== undefined && performance.now() - followingSince > stableMs) retry = retryMs.first
      await delay(retry * (0.5 + Math.random() / 2), undefined, { signal }).catch(() => {})
      retry = Math.min(2 * retry, retryMs.last)
    }
    this.#maker.rejectWaiting()
  }

  /** Follows and makes changes until one of the two connections is lost. Then closes the other. */
  async #work(follower: Database, maker: Database, session: AbortController, onReadable: () => void): Promise<void> {
    const { signal } = session
    signal.addEventListener('abort', () => {
      this.#follower.wake()
      this.#maker.wake()
    })
    const loops = [this.#follower.run(follower, signal, onReadable), this.#maker.run(maker, signal)]
    try {
      await Promise.all(loops)
    } finally {
      session.abort()
      await Promise.allSettled(loops)
    }
  }
}

const unusable = (error: unknown) =>
  error instanceof Problem ? error : new Problem('invalid_setting', `the database cannot be used: ${reasonOf(error)}`)
