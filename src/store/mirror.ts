// A replica's local copy of the shared database. `mirror.lmdb` is a link to one of two files. A full copy is made in
// the file that is not in use; then the link is switched. Changes that cannot be written are kept in memory, within
// limits. Several processes of a machine may share a mirror.

import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statfsSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import type { Logger } from 'pino'
import { Problem } from '../problem.js'
import { describeError } from './causes.js'
import {
  examine,
  type History,
  isFileAt,
  isSamePosition,
  MirrorFile,
  type Position,
  removeFile,
} from './mirror-file.js'
import { Overlay, type Write } from './overlay.js'
import { isSmallTable, type RecordRange, type SharedFile, type StoreReader, type Table } from './store.js'

/** The most that is kept in memory while the file cannot be written. */
const maxUnwritten = { bytes: 32 * 1024 * 1024, records: 20_000 }
/** Between attempts to write it, in milliseconds. Doubles from the first to the last. */
const retryMs = { first: 500, last: 30_000 }
/** Disk space that must be free in addition to what is to be written, in bytes. */
const spareBytes = 256 * 1024

const files = ['mirror.a.lmdb', 'mirror.b.lmdb'] as const

/** Changes that are kept in memory because the file cannot be written. */
interface UnwrittenChanges {
  readonly from: Position
  readonly overlay: Overlay
  to: Position
  records: number
}

/** Why the mirror has to be rebuilt, and whether it may be read until then. */
interface Defect {
  readonly reason: string
  readonly readable: boolean
}

export class Mirror implements StoreReader {
  /** Since the start: full copies that were completed, and how often the mirror was found damaged. */
  copies = 0
  damaged = 0
  /** Called when `sharedFile` has changed. */
  onSharedFile: () => void = () => {}
  #file: MirrorFile | undefined
  #unwritten: UnwrittenChanges | undefined
  #defect: Defect | undefined
  /** The history of the file. Of a damaged file, the history that could still be read. */
  #history: History | undefined
  #bytes = 0
  /** The inode of a file that was put in place of the mirror and cannot be used. */
  #examined: number | undefined
  #retry = { ms: retryMs.first, at: 0 }
  #lastWrite: Promise<void> = Promise.resolve()

  private constructor(
    readonly directory: string,
    readonly logger: Pick<Logger, 'info' | 'warn'>,
  ) {}

  /**
   * Opens the mirror of a directory after a check of its count and digest, for which all of it is read. A damaged
   * mirror stays where it is until a new one is complete.
   * @param signal ends the check
   * @throws Problem `invalid_setting` if the directory cannot be used; `shutting_down` if the check was ended
   */
  static async open(directory: string, logger: Pick<Logger, 'info' | 'warn'>, signal?: AbortSignal): Promise<Mirror> {
    const mirror = new Mirror(directory, logger)
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
    } catch (error) {
      throw new Problem('invalid_setting', `the data directory ${directory} cannot be used: ${describeError(error)}`)
    }
    await mirror.#open(signal)
    return mirror
  }

  /** Whether the mirror can be read. */
  get readable(): boolean {
    return this.#defect?.readable !== false && this.#file?.complete === true
  }

  /** The file that has all records; undefined while changes are only in memory, or the file cannot be read. */
  get sharedFile(): SharedFile | undefined {
    if (!this.readable || this.#unwritten !== undefined || this.#file === undefined) return undefined
    return { kind: 'mirror', path: this.#file.path, ...this.#file.identity }
  }

  /** The change after which the database had the mirror's state; undefined if the mirror cannot be read. */
  get position(): Position | undefined {
    return this.readable ? (this.#unwritten?.to ?? this.#file?.history?.position) : undefined
  }

  /** The small tables have all changes up to this number. They may be newer than the rest. */
  get smallAt(): number {
    return Math.max(this.#file?.smallAt ?? 0, this.position?.number ?? 0)
  }

  /** Its place in the history of the database, even if the mirror is damaged. */
  get history(): History | undefined {
    const inFile = this.readable ? this.#file?.history : undefined
    if (inFile === undefined || this.#unwritten === undefined) return inFile ?? this.#history
    return { ...inFile, position: this.#unwritten.to, earlier: [inFile.position, ...inFile.earlier] }
  }

  /** Why the mirror has to be rebuilt; undefined if it does not. */
  get rebuildReason(): string | undefined {
    if (this.#defect) return this.#defect.reason
    if (this.#file === undefined) return 'there is no mirror yet'
    if (!this.#file.complete) return 'the mirror is incomplete, or lacks tables that this version has'
    return this.#file.contents === undefined ? 'an earlier version made the mirror, without a digest' : undefined
  }

  /** Bytes that are kept in memory because the file cannot be written. */
  get unwrittenBytes(): number {
    return this.#unwritten?.overlay.bytes ?? 0
  }

  /** Whether the limit of changes in memory is reached. */
  get memoryFull(): boolean {
    if (this.#unwritten === undefined) return false
    return this.#unwritten.overlay.bytes > maxUnwritten.bytes || this.#unwritten.records > maxUnwritten.records
  }

  get(table: Table, key: string): Buffer | undefined {
    return this.#read((reader) => reader.get(table, key))
  }

  async prefetch(table: Table, key: string): Promise<void> {
    if (this.readable) await this.#file?.prefetch(table, key)
  }

  *range(table: Table, range?: RecordRange): Iterable<readonly [string, Buffer]> {
    const file = this.#file
    const records = this.#read((reader) => reader.range(table, range)[Symbol.iterator]())
    for (;;) {
      const { done, value } = this.#read(() => records.next(), file)
      if (done) return
      yield value
    }
  }

  count(table: Table): number {
    return this.#read((reader) => reader.count(table))
  }

  /**
   * Advances from one position to a later one. If the file cannot be written, the changes are kept in memory and
   * written later. Does nothing if another process has already advanced the mirror.
   */
  advance(from: Position, to: Position, writes: readonly Write[]): Promise<void> {
    return this.#inTurn(() => this.#advance(from, to, writes))
  }

  /**
   * Advances only the small tables to a later change, before large records have arrived. Does nothing while the file
   * cannot be written.
   */
  advanceSmall(from: Position, smallAt: number, writes: readonly Write[]): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#file === undefined || !this.readable || this.#unwritten !== undefined) return
      await this.#file.advanceSmall(from, smallAt, writes).catch((error) => this.#handleDamage(error))
    })
  }

  async #advance(from: Position, to: Position, writes: readonly Write[]): Promise<void> {
    const file = this.#file
    if (file === undefined || !this.readable) return
    if (this.#unwritten === undefined)
      try {
        return await file.advance(from, to, writes)
      } catch (error) {
        if (this.#handleDamage(error)) return
        this.logger.warn({ reason: (error as Error).message }, 'the mirror cannot be written; changes stay in memory')
        this.#unwritten = { from, to: from, overlay: new Overlay(file), records: 0 }
        this.onSharedFile()
        this.#retry = { ms: retryMs.first, at: performance.now() + retryMs.first }
      }
    if (!isSamePosition(from, this.#unwritten.to)) return
    const isSmallNewer = (file.smallAt ?? 0) > to.number
    for (const { table, key, value } of isSmallNewer ? writes.filter(({ table }) => !isSmallTable(table)) : writes)
      if (value === undefined) this.#unwritten.overlay.remove(table, key)
      else this.#unwritten.overlay.put(table, key, value)
    this.#unwritten.to = to
    this.#unwritten.records += writes.length
  }

  /**
   * Checks that the file is still in place and has its size, and writes changes that are kept in memory. The caller of
   * `advance` has to call it from time to time.
   */
  check(): Promise<void> {
    return this.#inTurn(async () => {
      const found = statSync(this.#link, { throwIfNoEntry: false })
      if (this.#file && (found === undefined || !this.#file.isSameFile(found))) await this.#replaced(found)
      else if (found && this.#file) this.#checkInPlace(this.#file, found)
      await this.#writeUnwritten()
    })
  }

  /** Has the mirror rebuilt. It may be read until then. */
  markSuspect(reason: string): void {
    if (this.#defect !== undefined) return
    this.damaged++
    this.#defect = { reason, readable: true }
    this.logger.warn({ reason }, 'the mirror of the database may be wrong; it is read until it has been rebuilt')
  }

  /** @throws Problem `storage_failed` if the disk does not have enough space */
  checkRoom(bytes: number): void {
    const free = this.#freeBytes()
    if (free >= bytes + spareBytes) return
    throw new Problem(
      'storage_failed',
      `no space left on device (ENOSPC): a full copy takes about ${bytes} bytes, and ${free} are free in ${this.directory}`,
    )
  }

  /**
   * Replaces the mirror by a full copy of the database with the given history.
   * @param pages all records. Until the last page has arrived, readers see the old mirror
   * @throws Problem `storage_failed` or `invalid_setting` if it cannot be written
   */
  async replace(history: History, pages: AsyncIterable<readonly Write[]>): Promise<void> {
    const [first, second] = files
    const path = join(this.directory, basename(this.#path() ?? '') === first ? second : first)
    removeFile(path)
    const file = MirrorFile.open(path)
    try {
      await file.fill(history, pages)
      await this.#inTurn(async () => {
        if (!isFileAt(path, file))
          throw new Problem('storage_failed', 'another process is making a full copy in the same directory')
        this.#switchTo(file)
        this.copies++
        this.#take(file)
      })
    } catch (error) {
      await file.discard()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }

  /** Runs one write after the other. A replica follows changes and makes its own at the same time. */
  #inTurn(write: () => Promise<void>): Promise<void> {
    const written = this.#lastWrite.then(write)
    this.#lastWrite = written.catch(() => {})
    return written
  }

  get #link(): string {
    return mirrorLink(this.directory)
  }

  /** The path of the mirror's file. Earlier versions had a file in place of the link. */
  #path(): string | undefined {
    try {
      return realpathSync(this.#link)
    } catch {
      return undefined
    }
  }

  async #open(signal?: AbortSignal): Promise<void> {
    const path = this.#path()
    if (path === undefined) return
    const { history, damage } = await examine(path, signal)
    if (damage === undefined) return this.#take(MirrorFile.open(path))
    this.#history = history
    this.#markDamaged(damage)
  }

  #take(file: MirrorFile): void {
    const before = this.#file
    this.#file = file
    this.#unwritten = undefined
    this.#defect = undefined
    this.#history = file.history
    this.#bytes = 0
    this.onSharedFile()
    before?.close().catch((error: Error) => this.logger.warn({ reason: error.message }, 'the old mirror stays open'))
  }

  /** Another process has made a new mirror, or the file was removed or replaced. */
  async #replaced(found: Stats | undefined): Promise<void> {
    const path = this.#path()
    if (found !== undefined && path !== undefined && found.ino !== this.#examined) {
      const { history, damage } = await examine(path)
      if (damage === undefined && history !== undefined) {
        this.logger.info({ change: history.position.number }, 'another mirror was put in place and is read from now on')
        return this.#take(MirrorFile.open(path))
      }
      this.#examined = found.ino
    }
    this.markSuspect(`${this.#link} was removed or replaced`)
  }

  /** lmdb's files never shrink. Reading a part of a file that is gone crashes the process. */
  #checkInPlace({ environment }: MirrorFile, { size }: Stats): void {
    if (environment.displaced !== undefined) this.#markDamaged(environment.displaced)
    else if (size < this.#bytes) this.#markDamaged(`its file was truncated to ${size} of ${this.#bytes} bytes`)
    else this.#bytes = size
  }

  async #writeUnwritten(): Promise<void> {
    const [file, unwritten] = [this.#file, this.#unwritten]
    if (file === undefined || unwritten === undefined || performance.now() < this.#retry.at) return
    // A write that fails costs much more than this check.
    if (this.#freeBytes() < unwritten.overlay.bytes + spareBytes) return
    try {
      await file.advance(unwritten.from, unwritten.to, unwritten.overlay.writes)
      this.#unwritten = undefined
      this.onSharedFile()
      this.logger.info({ change: unwritten.to.number }, 'the mirror can be written again')
    } catch (error) {
      if (this.#handleDamage(error)) return
      const ms = Math.min(2 * this.#retry.ms, retryMs.last)
      this.#retry = { ms, at: performance.now() + ms }
    }
  }

  #freeBytes(): number {
    try {
      const { bavail, bsize } = statfsSync(this.directory)
      return bavail * bsize
    } catch {
      // If something is wrong with the directory, the next write reports it.
      return Number.POSITIVE_INFINITY
    }
  }

  #read<T>(read: (reader: StoreReader) => T, file = this.#file): T {
    const reader = this.#unwritten?.overlay ?? this.#file
    if (reader === undefined || !this.readable)
      throw new Problem(
        'storage_unavailable',
        "this replica's copy of the database cannot be read, and is being rebuilt",
      )
    try {
      return read(reader)
    } catch (error) {
      if (error instanceof Problem) throw error
      if (file === this.#file) this.#markDamaged((error as Error).message)
      throw new Problem('storage_unavailable', "this replica's copy of the database is damaged, and is being rebuilt")
    }
  }

  /** Handles an error that says that the file is damaged. @returns false for other errors, such as a full disk */
  #handleDamage(error: unknown): boolean {
    const { message } = error as Error
    if (!/\bMDB_(?!MAP_FULL|READERS_FULL|TXN_FULL)/.test(message)) return false
    this.#markDamaged(message)
    return true
  }

  #markDamaged(reason: string): void {
    if (this.#defect?.readable === false) return
    this.damaged++
    this.#defect = { reason, readable: false }
    this.onSharedFile()
    this.logger.warn(
      { reason: `${this.#link} is damaged: ${reason}` },
      'the mirror of the database is damaged: it is not read until it has been rebuilt',
    )
  }

  /** Makes a complete file the mirror, and removes the old one. */
  #switchTo(file: MirrorFile): void {
    const next = `${this.#link}.new`
    rmSync(next, { force: true })
    symlinkSync(basename(file.path), next)
    renameSync(next, this.#link)
    const directory = openSync(this.directory, 'r')
    try {
      fsyncSync(directory)
    } finally {
      closeSync(directory)
    }
    for (const name of files) if (name !== basename(file.path)) removeFile(join(this.directory, name))
    // The lock of the file that earlier versions had in place of the link.
    rmSync(`${this.#link}-lock`, { force: true })
  }
}

const mirrorLink = (directory: string): string => join(directory, 'mirror.lmdb')
