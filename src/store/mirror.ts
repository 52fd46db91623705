// The local copy of a shared database: what a replica reads. `mirror.lmdb` is a link to one of two files. A full copy is
// made in the other one while this one is read, and then the link is switched. What cannot be written to the file is kept
// in memory within limits. Several processes of a machine may share a mirror.

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
import { isSmallTable, type RecordRange, type StoreReader, type Table } from './store.js'

/** What may be kept in memory while the file cannot be written. */
const maxUnwritten = { bytes: 32 * 1024 * 1024, records: 20_000 }
/** Between attempts to write it, in milliseconds: doubled from the first to the last. */
const retryMs = { first: 500, last: 30_000 }
/** Room that must be free beside what is to be written. */
const spareBytes = 256 * 1024

const files = ['mirror.a.lmdb', 'mirror.b.lmdb'] as const

/** Changes that are not in the file yet. */
interface UnwrittenChanges {
  readonly from: Position
  readonly overlay: Overlay
  to: Position
  records: number
}

/** Why a mirror is to be made anew, and whether it may be read meanwhile. */
interface Defect {
  readonly reason: string
  readonly readable: boolean
}

export class Mirror implements StoreReader {
  /** Copies that were completed, and those that turned out damaged, since the start. */
  copies = 0
  damaged = 0
  #file: MirrorFile | undefined
  #unwritten: UnwrittenChanges | undefined
  #defect: Defect | undefined
  /** Of the file, or of a damaged one as far as that could tell. */
  #history: History | undefined
  #bytes = 0
  /** The file that was put in place of the mirror and cannot be used. */
  #examined: number | undefined
  #retry = { ms: retryMs.first, at: 0 }
  #lastWrite: Promise<void> = Promise.resolve()

  private constructor(
    readonly directory: string,
    readonly logger: Pick<Logger, 'info' | 'warn'>,
  ) {}

  /**
   * Opens the mirror of a directory, once all of it was read and is what its count and digest say. One that is damaged
   * stays where it is until there is a new one.
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

  /** Whether there is something to read. */
  get readable(): boolean {
    return this.#defect?.readable !== false && this.#file?.complete === true
  }

  /** The change behind which this is the database's state; undefined where nothing can be read. */
  get position(): Position | undefined {
    return this.readable ? (this.#unwritten?.to ?? this.#file?.history?.position) : undefined
  }

  /** The number of the change up to which the small tables are here. They may be ahead of everything else. */
  get smallAt(): number {
    return Math.max(this.#file?.smallAt ?? 0, this.position?.number ?? 0)
  }

  /** Where it stands, or stood before it was damaged. */
  get history(): History | undefined {
    const inFile = this.readable ? this.#file?.history : undefined
    if (inFile === undefined || this.#unwritten === undefined) return inFile ?? this.#history
    return { ...inFile, position: this.#unwritten.to, earlier: [inFile.position, ...inFile.earlier] }
  }

  /** Why it is to be made anew; undefined where that is not so. */
  get rebuildReason(): string | undefined {
    if (this.#defect) return this.#defect.reason
    if (this.#file === undefined) return 'there is no mirror yet'
    if (!this.#file.complete) return 'the mirror was not completed, or lacks tables that this version knows'
    return this.#file.contents === undefined ? 'an earlier version made the mirror, without a digest' : undefined
  }

  /** Bytes that are kept in memory because the file cannot be written. */
  get unwrittenBytes(): number {
    return this.#unwritten?.overlay.bytes ?? 0
  }

  /** Whether no more may be kept in memory. */
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
   * Goes from one position to a later one. Where the file cannot be written the changes are kept in memory, and written
   * later. Nothing happens if another process has gone on from there already.
   */
  advance(from: Position, to: Position, writes: readonly Write[]): Promise<void> {
    return this.#inTurn(() => this.#advance(from, to, writes))
  }

  /**
   * Brings the small tables alone to a later change, while a large rest is on its way. Where the file cannot be written
   * they come with the rest.
   */
  advanceSmall(from: Position, smallAt: number, writes: readonly Write[]): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#file === undefined || !this.readable || this.#unwritten !== undefined) return
      await this.#file.advanceSmall(from, smallAt, writes).catch((error) => this.#isDamage(error))
    })
  }

  async #advance(from: Position, to: Position, writes: readonly Write[]): Promise<void> {
    const file = this.#file
    if (file === undefined || !this.readable) return
    if (this.#unwritten === undefined)
      try {
        return await file.advance(from, to, writes)
      } catch (error) {
        if (this.#isDamage(error)) return
        this.logger.warn({ reason: (error as Error).message }, 'the mirror cannot be written; changes stay in memory')
        this.#unwritten = { from, to: from, overlay: new Overlay(file), records: 0 }
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
   * Looks whether the file is still the one at its place and has its size, and writes what could not be written before.
   * To be called now and then, by who calls `advance`.
   */
  check(): Promise<void> {
    return this.#inTurn(async () => {
      const found = statSync(this.#link, { throwIfNoEntry: false })
      if (this.#file && (found === undefined || !this.#file.is(found))) await this.#replaced(found)
      else if (found && this.#file) this.#checkInPlace(this.#file, found)
      await this.#writeUnwritten()
    })
  }

  /** The mirror is to be made anew, but may be read until then. */
  markSuspect(reason: string): void {
    if (this.#defect !== undefined) return
    this.damaged++
    this.#defect = { reason, readable: true }
    this.logger.warn({ reason }, 'the mirror of the database is in doubt, and is made anew')
  }

  /** @throws Problem `storage_failed` if there is no room for so much */
  checkRoom(bytes: number): void {
    const free = this.#freeBytes()
    if (free >= bytes + spareBytes) return
    throw new Problem(
      'storage_failed',
      `no space left on device (ENOSPC): a full copy takes about ${bytes} bytes, and ${free} are free in ${this.directory}`,
    )
  }

  /**
   * Becomes a full copy of the database as `history` says.
   * @param pages of all records; until the last one is here, readers see what they saw before
   * @throws Problem `storage_failed`, `invalid_setting` if it cannot be written
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
          throw new Problem('storage_failed', 'another process makes a full copy in the same directory')
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

  /** One write after the other: a replica follows and makes changes at the same time. */
  #inTurn(write: () => Promise<void>): Promise<void> {
    const written = this.#lastWrite.then(write)
    this.#lastWrite = written.catch(() => {})
    return written
  }

  get #link(): string {
    return mirrorLink(this.directory)
  }

  /** The file that is the mirror. Earlier versions had a file in place of the link. */
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
    before?.close().catch((error: Error) => this.logger.warn({ reason: error.message }, 'the mirror before stays open'))
  }

  /** Another process has made a new mirror, or somebody has removed or replaced the file. */
  async #replaced(found: Stats | undefined): Promise<void> {
    const path = this.#path()
    if (found !== undefined && path !== undefined && found.ino !== this.#examined) {
      const { history, damage } = await examine(path)
      if (damage === undefined && history !== undefined) {
        this.logger.info(
          { change: history.position.number },
          'another mirror was put in place, and is read from now on',
        )
        return this.#take(MirrorFile.open(path))
      }
      this.#examined = found.ino
    }
    this.markSuspect(`${this.#link} was removed or replaced`)
  }

  /** lmdb's files never become smaller, and reading what is gone ends the process. */
  #checkInPlace({ environment }: MirrorFile, { size }: Stats): void {
    if (environment.displaced !== undefined) this.#markDamaged(environment.displaced)
    else if (size < this.#bytes) this.#markDamaged(`its file was cut off at ${size} of ${this.#bytes} bytes`)
    else this.#bytes = size
  }

  async #writeUnwritten(): Promise<void> {
    const [file, unwritten] = [this.#file, this.#unwritten]
    if (file === undefined || unwritten === undefined || performance.now() < this.#retry.at) return
    // A write that fails costs much more than this look.
    if (this.#freeBytes() < unwritten.overlay.bytes + spareBytes) return
    try {
      await file.advance(unwritten.from, unwritten.to, unwritten.overlay.writes)
      this.#unwritten = undefined
      this.logger.info({ change: unwritten.to.number }, 'the mirror can be written again')
    } catch (error) {
      if (this.#isDamage(error)) return
      const ms = Math.min(2 * this.#retry.ms, retryMs.last)
      this.#retry = { ms, at: performance.now() + ms }
    }
  }

  #freeBytes(): number {
    try {
      const { bavail, bsize } = statfsSync(this.directory)
      return bavail * bsize
    } catch {
      // Whatever is wrong with the directory, writing to it tells.
      return Number.POSITIVE_INFINITY
    }
  }

  #read<T>(read: (reader: StoreReader) => T, file = this.#file): T {
    const reader = this.#unwritten?.overlay ?? this.#file
    if (reader === undefined || !this.readable)
      throw new Problem('storage_unavailable', "this replica's copy of the database cannot be read, and is made anew")
    try {
      return read(reader)
    } catch (error) {
      if (error instanceof Problem) throw error
      if (file === this.#file) this.#markDamaged((error as Error).message)
      throw new Problem('storage_unavailable', "this replica's copy of the database is damaged, and is made anew")
    }
  }

  /** Whether an error says that the file is damaged, and not that it cannot be written. */
  #isDamage(error: unknown): boolean {
    const { message } = error as Error
    if (!/\bMDB_(?!MAP_FULL|READERS_FULL|TXN_FULL)/.test(message)) return false
    this.#markDamaged(message)
    return true
  }

  #markDamaged(reason: string): void {
    if (this.#defect?.readable === false) return
    this.damaged++
    this.#defect = { reason, readable: false }
    this.logger.warn(
      { reason: `${this.#link} is damaged: ${reason}` },
      'the mirror of the database is damaged: it is not read any more, and is made anew',
    )
  }

  /** Makes a complete file the mirror, and removes the one before. */
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
    // Of the file that earlier versions had in place of the link.
    rmSync(`${this.#link}-lock`, { force: true })
  }
}

const mirrorLink = (directory: string): string => join(directory, 'mirror.lmdb')
