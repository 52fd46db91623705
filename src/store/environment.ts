// One lmdb file: opened only if it is sound, changed by one transaction after the other, each durable before it is
// answered. After a fault it is opened again and proved sound before it takes further changes.

import { mkdirSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Database, RootDatabase } from 'lmdb'
import type { Logger } from 'pino'
import { Problem } from '../problem.js'
import { describeError, errorName, findWriteError } from './causes.js'
import { checkSound, makeLockFile, OpenedFiles, readableByAll, resetUnfinished } from './lmdb-file.js'
import { checkReadable, commitError, isPanic, openLmdb, otherReaders } from './lmdb-root.js'
import { Records } from './records.js'
import { beingReopened, notWritten, unavailable, unknownOutcome } from './storage-problems.js'

export type StorageLog = Pick<Logger, 'info' | 'warn' | 'error'>

export interface StorageOptions {
  /** Is told of faults, and when they are over. */
  readonly log?: StorageLog
  /** Between two checks at the files, in milliseconds. */
  readonly checkIntervalMs?: number
  /** The file is only a copy: it is read until its owner has replaced it, even if it is not in its place any more. */
  readonly readDisplaced?: boolean
}

const silentLog: StorageLog = { info: () => {}, warn: () => {}, error: () => {} }

/** Looks after which a transaction counts as stuck. They are counted because a process that is paused takes none. */
const maxChecks = 30
/** Looks between two attempts to prove the file sound, at most. */
const maxVerifyInterval = 30

/** Reasons of a failed transaction that say nothing against the file: the next one may succeed. */
const harmlessErrors: readonly (string | undefined)[] = ['ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'EACCES', 'EPERM']

/** A transaction under way. */
interface Running {
  /** Its body was called. */
  begun: boolean
  /** Its caller does not wait for it any more. If its body was not called yet, it never is. */
  abandoned: boolean
  checks: number
  /** What lmdb said of a write within it; the transaction then fails with a reason that says less. */
  writeError?: unknown
  readonly abandon: () => void
}

/** Since when it is not known that the file is sound. */
interface Suspicion {
  readonly reason: string
  /** Looks until the next attempt to prove it, and how many there were before the last. */
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
      const unflushed = checkSound(path)
      makeLockFile(path)
      // After a power cut lmdb goes back to what was flushed, if it is opened the way in which the file was written.
      if (unflushed) void openLmdb(path, { overlappingSync: true }).close()
      root = openLmdb(path)
      checkReadable(root)
      const others = otherReaders(root)
      if (others.length > 0) log.warn({ path, processes: others }, 'other processes use the store too')
      const readable = readableByAll(path)
      if (readable !== undefined)
        log.warn({ path: readable }, 'every user of the machine may read the store; chmod o-rwx')
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

  /** What happened to the files since they were opened; undefined if they are the same. */
  get displaced(): string | undefined {
    return this.#displaced
  }

  /** Why no changes are taken; undefined while they are. */
  get failure(): string | undefined {
    if (this.#displaced !== undefined)
      return `${this.#displaced}; stop the server, put the right file in its place, and start it`
    if (this.#running?.abandoned)
      return `a change of ${this.path} does not end: the disk does not answer, or a process that is stopped has locked it`
    return this.#suspicion && `${this.path} may not be sound: ${this.#suspicion.reason}`
  }

  /**
   * Writes in one transaction, and resolves once it is durable. One at a time.
   * @throws Problem `storage_unavailable`, `storage_failed`: nothing was changed; `outcome_unknown`; what the body throws,
   *   after its writes
   */
  async commit<T>(body: () => T): Promise<T> {
    this.#checkPlace()
    if (this.failure !== undefined) throw unavailable(this.failure)
    const result = await this.#transaction(body)
    this.#checkPlace()
    if (this.#displaced !== undefined) throw unknownOutcome(this.path, this.#displaced)
    return result
  }

  /** Writes what one transaction left behind to a file that is not there yet, while others go on reading and writing. */
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
    // lmdb would wait for the end of the transaction.
    if (this.#running !== undefined) return
    await this.#closeLmdb()
    this.#files.close()
  }

  /** @throws Problem `storage_unavailable` where the file cannot be read now, or is another one */
  database(name: string): Database<Buffer, string> {
    if (this.#displaced !== undefined && !this.readDisplaced) throw unavailable(this.failure)
    const database = this.#databases.get(name)
    if (!this.#readable || database === undefined) throw beingReopened(this.path)
    return database
  }

  /** Brings a record into memory, or gives up where the file is closed meanwhile. */
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

  /** A write within a transaction. */
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

  /** @throws Problem `storage_failed`, `outcome_unknown`; what the body throws */
  #transaction<T>(body: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const running: Running = {
        begun: false,
        abandoned: false,
        checks: 0,
        abandon: () => {
          running.abandoned = true
          const reason = this.failure ?? ''
          reject(running.begun ? unknownOutcome(this.path, reason) : notWritten(this.path, reason))
        },
      }
      // lmdb would commit what a body wrote before it threw, and say that the transaction failed.
      let settle = () => {}
      const run = () => {
        if (running.abandoned) return
        running.begun = true
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
    if (abandoned) this.log.info({ path: this.path }, 'the change that did not end is over')
  }

  /**
   * What the failure of a transaction means for who asked for it. Afterwards the file is open as a restart would find it.
   */
  async #problemOf(error: unknown): Promise<Problem> {
    // lmdb writes pages that nothing refers to yet, flushes them, and then writes the page that refers to them. Only if
    // that one failed it refuses to go on. Before that nothing was changed.
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
    this.log.error({ path: this.path, reason }, 'the store failed; it takes no changes until it is proved sound')
  }

  /** With new descriptors: the kernel tells each of the old ones once more of the same error. */
  async #openAgain(): Promise<void> {
    try {
      await this.#closeLmdb()
      this.#checkPlace()
      // Another file is left alone; lmdb would make one that is gone anew.
      if (this.#displaced !== undefined) return this.#suspect(this.#displaced)
      this.#root = openLmdb(this.path)
      for (const name of this.#databases.keys()) this.#openDatabase(name)
      this.#readable = true
    } catch (error) {
      this.#suspect(`it cannot be opened again: ${describeError(error)}`)
    }
  }

  async #closeLmdb(): Promise<void> {
    if (!this.#readable) return
    this.#readable = false
    for (const done of this.#prefetches) done()
    await this.#root.close()
  }

  /**
   * A transaction that becomes durable proves the file sound, whatever failed before:
   * - A flush that failed concerned only pages of the transaction that failed with it. All others were flushed before. The
   *   kernel may count such pages as written although they are not, but lmdb never builds on them: a transaction writes
   *   each of its pages itself, and flushes them before anything refers to them.
   * - If the page that refers to them failed, lmdb has put the old one back, but the disk may have the new one. What either
   *   refers to was flushed. The flush that comes first settles which one the disk has, before the transaction uses pages
   *   again that only the other refers to.
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
      this.log.info({ path: this.path, reason: suspicion.reason }, 'the store is proved sound, and takes changes again')
    } catch {
      suspicion.interval = Math.min(2 * suspicion.interval + 1, maxVerifyInterval)
      suspicion.checksLeft = suspicion.interval
      suspicion.verifying = false
    }
  }

  /** With a descriptor of its own: the others may have to tell once more of an error that is over. */
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
      this.log.error({ path: this.path, reason: this.failure }, 'a change does not end; no others are taken meanwhile')
    } else if (this.#suspicion !== undefined && this.#suspicion.checksLeft-- <= 0) this.#verifyIfSuspect()
  }

  #verifyIfSuspect(): void {
    const suspicion = this.#suspicion
    if (suspicion === undefined || suspicion.verifying || this.#displaced !== undefined) return
    void this.#verify(suspicion)
  }

  /** Looks whether the files are still those that were opened. */
  #checkPlace(): void {
    const before = this.#displaced
    this.#displaced = this.#files.displaced
    if ((this.#displaced === undefined) === (before === undefined)) return
    const { path, failure: reason } = this
    if (this.#displaced === undefined) this.log.info({ path }, 'the store is in its place again')
    else this.log.error({ path, reason }, 'the store is not the one that was opened: none of its keys and tasks counts')
  }
}
