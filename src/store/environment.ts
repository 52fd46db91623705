// One lmdb file. It is opened only if it is intact. Transactions run one at a time, and the promise of a transaction
// resolves once it is durable. After a fault the file is reopened, and verified before it accepts further changes.

import { mkdirSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Database, RootDatabase } from 'lmdb'
import type { Logger } from 'pino'
import { Problem } from '../problem.js'
import { describeError, errorName, findWriteError } from './causes.js'
import { checkIntact, makeLockFile, OpenedFiles, readableByAll, resetUnfinished } from './lmdb-file.js'
import { checkReadable, commitError, isPanic, openLmdb, otherReaders } from './lmdb-root.js'
import { Records } from './records.js'
import { beingReopened, notWritten, unavailable, unknownOutcome } from './storage-problems.js'

export type StorageLog = Pick<Logger, 'info' | 'warn' | 'error'>

export interface StorageOptions {
  /** Logs faults, and when they are over. */
  readonly log?: StorageLog
  /** Between two checks of the files, in milliseconds. */
  readonly checkIntervalMs?: number
  /**
   * Whether a file that was removed or replaced may still be read: it is only a copy, and its owner will replace it.
   */
  readonly readDisplaced?: boolean
}

const silentLog: StorageLog = { info: () => {}, warn: () => {}, error: () => {} }

/** A transaction counts as hung after so many checks. A paused process makes no checks, so its pause does not count. */
const maxChecks = 30
/** The most checks between two attempts to verify the file. */
const maxVerifyInterval = 30

/** Errors after which the file is certainly intact. The next transaction may succeed. */
const harmlessErrors: readonly (string | undefined)[] = ['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EACCES', 'EPERM']

/** The transaction that is running. */
interface Running {
  /** Whether its body was called. */
  started: boolean
  /** Its caller no longer waits for it. If its body was not called yet, it never will be. */
  abandoned: boolean
  checks: number
  /** The error of a write within it. lmdb then fails the transaction with a less specific error. */
  writeError?: unknown
  readonly abandon: () => void
}

/** After a fault it is unknown whether the file is intact. */
interface Suspicion {
  readonly reason: string
  /** Checks before the next attempt to verify the file, and before the last attempt. */
  checksLeft: number
  interval: number
  verifying: boolean
}

export class Environment {
  #root: RootDatabase
  readonly #databases = new Map<string, Database<Buffer, string>>()
  readonly #files: OpenedFiles
  readonly #prefetches = new Set<() => void>()
  readonly #checkTimer: NodeJS.Timeout
  #readable = true
  #closed = false
  #running: Running | undefined
  #suspicion: Suspicion | undefined
  #displaced: string | undefined

  private constructor(
    readonly path: string,
    root: RootDatabase,
    readonly log: StorageLog,
    checkIntervalMs: number,
    readonly readDisplaced: boolean,
  ) {
    this.#root = root
    this.#files = new OpenedFiles(path)
    this.#checkTimer = setInterval(() => this.#check(), checkIntervalMs).unref()
  }

  /** @throws Problem `invalid_setting` if the directory cannot be used, `storage_damaged` */
  static open(
    path: string,
    { log = silentLog, checkIntervalMs = 1_000, readDisplaced = false }: StorageOptions = {},
  ): Environment {
    let root: RootDatabase | undefined
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
      resetUnfinished(path)
      const unflushed = checkIntact(path)
      makeLockFile(path)
      // After a power failure lmdb returns to the flushed state, if it is opened in the mode in which the file was
      // written.
      if (unflushed) void openLmdb(path, { overlappingSync: true }).close()
      root = openLmdb(path)
      checkReadable(root)
      const others = otherReaders(root)
      if (others.length > 0) log.warn({ path, processes: others }, 'other processes use the store, too')
      const readable = readableByAll(path)
      if (readable !== undefined)
        log.warn({ path: readable }, 'every user of the machine can read the store; run chmod o-rwx on its directory')
      return new Environment(path, root, log, checkIntervalMs, readDisplaced)
    } catch (error) {
      void root?.close()
      if (error instanceof Problem) throw error
      throw new Problem(
        'invalid_setting',
        `the data directory ${dirname(path)} cannot be used: ${describeError(error)}`,
      )
    }
  }

  records(name: string): Records {
    this.#openDatabase(name)
    return new Records(this, name)
  }

  /** What happened to the files since they were opened; undefined if they are still in place. */
  get displaced(): string | undefined {
    return this.#displaced
  }

  /** Why no changes are accepted; undefined while they are. */
  get failure(): string | undefined {
    if (this.#displaced !== undefined)
      return `${this.#displaced}; stop the server, restore the right file, and start the server again`
    if (this.#running?.abandoned)
      return `a change of ${this.path} hangs: the disk does not respond, or a stopped process has locked the file`
    return this.#suspicion && `${this.path} may not be sound: ${this.#suspicion.reason}`
  }

  /**
   * Writes in one transaction, and resolves once it is durable. Call it for one transaction at a time.
   * @throws Problem `storage_unavailable` or `storage_failed`: nothing was changed; `outcome_unknown`. Rethrows an
   *   error of the body, after its writes were made
   */
  async commit<T>(body: () => T): Promise<T> {
    this.#checkPlace()
    if (this.failure !== undefined) throw unavailable(this.failure)
    const result = await this.#transaction(body)
    this.#checkPlace()
    if (this.#displaced !== undefined) throw unknownOutcome(this.path, this.#displaced)
    return result
  }

  /** Writes a consistent copy to a new file, while reads and writes continue. */
  async backup(path: string): Promise<void> {
    await this.#root.backup(path, false).catch(async (error) => {
      throw await findWriteError(error, dirname(path))
    })
    const file = await openFile(path)
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#checkTimer)
    // lmdb would wait until a hung transaction has ended.
    if (this.#running !== undefined) return
    await this.#closeLmdb()
    this.#files.close()
  }

  /** @throws Problem `storage_unavailable` if the file cannot be read now, or was replaced */
  database(name: string): Database<Buffer, string> {
    if (this.#displaced !== undefined && !this.readDisplaced) throw unavailable(this.failure)
    const database = this.#databases.get(name)
    if (!this.#readable || database === undefined) throw beingReopened(this.path)
    return database
  }

  /**
   * Makes the next read see everything that other processes have committed. lmdb reads from a snapshot, which it otherwise
   * renews after a millisecond.
   */
  refresh(): void {
    if (this.#readable) this.#root.resetReadTxn()
  }

  /** Loads a record into memory. Resolves early if the file is closed in the meantime. */
  prefetch(name: string, key: string): Promise<void> {
    const database = this.database(name)
    return new Promise((resolve) => {
      const done = () => {
        this.#prefetches.delete(done)
        resolve()
      }
      this.#prefetches.add(done)
      void database.prefetch([key]).then(done)
    })
  }

  /** Writes within a transaction. */
  write(name: string, use: (database: Database<Buffer, string>) => unknown): void {
    try {
      use(this.database(name))
    } catch (error) {
      if (this.#running) this.#running.writeError ??= error
      throw error
    }
  }

  #openDatabase(name: string): void {
    this.#databases.set(name, this.#root.openDB<Buffer, string>({ name, encoding: 'binary' }))
  }

  /** @throws Problem `storage_failed` or `outcome_unknown`; errors of the body */
  #transaction<T>(body: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const running: Running = {
        started: false,
        abandoned: false,
        checks: 0,
        abandon: () => {
          running.abandoned = true
          const reason = this.failure ?? ''
          reject(running.started ? unknownOutcome(this.path, reason) : notWritten(this.path, reason))
        },
      }
      // If the body threw here, lmdb would commit its earlier writes and still report a failed transaction.
      let settle = () => {}
      const run = () => {
        if (running.abandoned) return
        running.started = true
        try {
          const result = body()
          settle = () => resolve(result)
        } catch (error) {
          settle = () => reject(error)
        }
      }
      this.#running = running
      this.#root.transaction(run).then(
        () => {
          this.#ended(running)
          settle()
        },
        async (error) => {
          const problem = await this.#problemOf(running.writeError ?? (await commitError(error)))
          this.#ended(running)
          reject(problem)
          this.#verifyIfSuspect()
        },
      )
    })
  }

  #ended({ abandoned }: Running): void {
    this.#running = undefined
    if (abandoned) this.log.info({ path: this.path }, 'the change that hung has ended')
  }

  /**
   * The problem that the caller of a failed transaction gets. Reopens the file, which is then in the state of a
   * restart.
   */
  async #problemOf(error: unknown): Promise<Problem> {
    // lmdb writes pages that nothing refers to yet, flushes them, and then writes the page that refers to them. Only a
    // failure of that last page makes lmdb reject further operations. After any earlier failure nothing has changed.
    const atLastPage = this.#needsReopening
    await this.#openAgain()
    const cause = await findWriteError(error, dirname(this.path))
    const reason = describeError(cause)
    if (atLastPage || !harmlessErrors.includes(errorName(cause))) this.#suspect(reason)
    return atLastPage ? unknownOutcome(this.path, reason) : notWritten(this.path, reason)
  }

  get #needsReopening(): boolean {
    try {
      this.#root.resetReadTxn()
      this.#root.get('a key that is not there')
      return false
    } catch (error) {
      return isPanic(error)
    }
  }

  #suspect(reason: string): void {
    if (this.#suspicion !== undefined) return
    this.#suspicion = { reason, checksLeft: 0, interval: 0, verifying: false }
    this.log.error({ path: this.path, reason }, 'the store failed; it accepts no changes until it is verified')
  }

  /** With new file descriptors: the kernel reports an error once more on each of the old ones. */
  async #openAgain(): Promise<void> {
    try {
      await this.#closeLmdb()
      this.#checkPlace()
      // Do not open another file. If the file is gone, lmdb would create a new one.
      if (this.#displaced !== undefined) return this.#suspect(this.#displaced)
      this.#root = openLmdb(this.path)
      for (const name of this.#databases.keys()) this.#openDatabase(name)
      this.#readable = true
    } catch (error) {
      this.#suspect(`it cannot be reopened: ${describeError(error)}`)
    }
  }

  async #closeLmdb(): Promise<void> {
    if (!this.#readable) return
    this.#readable = false
    for (const done of this.#prefetches) done()
    await this.#root.close()
  }

  /**
   * Verifies the file with a transaction. If it becomes durable, the file is intact, whatever failed before:
   * - A failed flush concerned only pages of the transaction that failed with it; all other pages were flushed before.
   *   The kernel may treat the failed pages as written although they are not. lmdb never relies on them: a transaction
   *   writes all of its pages itself, and flushes them before anything refers to them.
   * - If the page that refers to the others failed, lmdb has restored the old one, but the disk may have the new one.
   *   The pages that either refers to were flushed. The first flush here decides which one the disk has, before the
   *   transaction reuses pages that only the other refers to.
   */
  async #verify(suspicion: Suspicion): Promise<void> {
    suspicion.verifying = true
    try {
      await this.#flush()
      if (this.#closed) return
      if (!this.#readable) await this.#openAgain()
      if (!this.#readable) throw unavailable(this.failure)
      await this.#transaction(() => {
        this.#openDatabase('proof')
        this.write('proof', (database) => database.put('last', Buffer.from(crypto.randomUUID())))
      })
      this.#suspicion = undefined
      this.log.info({ path: this.path, reason: suspicion.reason }, 'the store is verified and accepts changes again')
    } catch {
      suspicion.interval = Math.min(2 * suspicion.interval + 1, maxVerifyInterval)
      suspicion.checksLeft = suspicion.interval
      suspicion.verifying = false
    }
  }

  /** With a file descriptor of its own: the others may still have to report an old error. */
  async #flush(): Promise<void> {
    const file = await openFile(this.path)
    try {
      await file.datasync()
    } finally {
      await file.close()
    }
  }

  #check(): void {
    this.#checkPlace()
    const running = this.#running
    if (running !== undefined) {
      if (running.abandoned || ++running.checks < maxChecks) return
      running.abandon()
      this.log.error({ path: this.path, reason: this.failure }, 'a change hangs; no others are accepted until it ends')
    } else if (this.#suspicion !== undefined && this.#suspicion.checksLeft-- <= 0) this.#verifyIfSuspect()
  }

  #verifyIfSuspect(): void {
    const suspicion = this.#suspicion
    if (suspicion === undefined || suspicion.verifying || this.#displaced !== undefined) return
    void this.#verify(suspicion)
  }

  /** Checks whether the files are still those that were opened. */
  #checkPlace(): void {
    const before = this.#displaced
    this.#displaced = this.#files.displaced
    if ((this.#displaced === undefined) === (before === undefined)) return
    const { path, failure: reason } = this
    if (this.#displaced === undefined) this.log.info({ path }, 'the store is in its place again')
    else this.log.error({ path, reason }, 'the store is not the one that was opened: its keys and tasks are not used')
  }
}
