// The files of an lmdb environment: whether the data file is intact, whether the lock file has disk space, and whether
// they are still the files that were opened.

import { spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import {
  closeSync,
  fstatSync,
  linkSync,
  openSync,
  readSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Problem } from '../problem.js'
import { describeError } from './causes.js'

export const lockFileOf = (path: string): string => `${path}-lock`

/** Each reader of lmdb takes 64 bytes of it. */
const lockFileBytes = 16 * 1024

/** Offsets within lmdb's meta pages, in bytes. */
const meta = { size: 160, magic: 24, version: 28, pageSize: 48, flags: 52, lastPage: 144, transaction: 152 }
/** Two meta pages of 4 KiB. */
const smallestFile = 8_192
const magic = 0xbeefc0de
const version = 2
/** A flag: the transaction was committed before it was flushed. */
const committedUnflushed = 0x1000

const damaged = (path: string, what: string) =>
  new Problem(
    'storage_damaged',
    `the database ${path} is damaged: ${what}; restore it from a backup, or move it away to begin without it`,
  )

/**
 * lmdb trusts its file: a damaged one would crash the process. A file that ends before its last page may be intact, if
 * that page is free. To find out, a separate process reads the whole file.
 * @returns whether the newest transaction may not have been flushed. Earlier versions of this program left such files
 * @throws Problem `storage_damaged`
 */
export function checkIntact(path: string): boolean {
  const file = openIfThere(path)
  if (file === undefined) return false
  try {
    const { size } = fstatSync(file)
    if (size === 0) return false
    const metas = readMetas(file)
    if (metas === undefined) throw damaged(path, `its ${size} bytes are not an lmdb file`)
    const pageSize = metas[0].getUint32(meta.pageSize, true)
    const pages = Math.max(...metas.map((page) => Number(page.getBigUint64(meta.lastPage, true)))) + 1
    if (size < pages * pageSize) {
      const reader = fileURLToPath(new URL('./read-all.js', import.meta.url))
      const { status, signal } = spawnSync(process.execPath, [reader, path], { stdio: 'ignore' })
      if (status !== 0) throw damaged(path, `it has ${size} of ${pages * pageSize} bytes (${signal ?? 'unreadable'})`)
    }
    const newest = transactionOf(metas[0]) >= transactionOf(metas[1]) ? metas[0] : metas[1]
    return (newest.getUint16(meta.flags, true) & committedUnflushed) !== 0
  } finally {
    closeSync(file)
  }
}

/**
 * Truncates a file whose creation was interrupted before it held anything, so that lmdb creates it again. Such a file
 * lacks a meta page and has no transaction, or it has only zeros, as after a power failure.
 */
export function resetUnfinished(path: string): void {
  if (!isUnfinished(path)) return
  // Another process may be creating it right now.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
  if (isUnfinished(path)) truncateSync(path)
}

function isUnfinished(path: string): boolean {
  const file = openIfThere(path)
  if (file === undefined) return false
  try {
    const { size } = fstatSync(file)
    const first = readMeta(file, 0)
    if (first) return size < 2 * first.getUint32(meta.pageSize, true) && transactionOf(first) === 0n
    const start = Buffer.alloc(size <= smallestFile ? size : 0)
    return start.byteLength > 0 && readSync(file, start) === size && start.every((byte) => byte === 0)
  } finally {
    closeSync(file)
  }
}

/**
 * Creates the lock file with all of its disk space. lmdb would create and map a sparse file; on a full disk, the first
 * write to a hole crashes the process (SIGBUS).
 * @throws errors of the file system
 */
export function makeLockFile(path: string): void {
  const lockFile = lockFileOf(path)
  const there = statSync(lockFile, { throwIfNoEntry: false })
  if (there === undefined) {
    // The file appears complete, because another process may use it at once.
    const whole = `${lockFile}.${randomUUID()}`
    try {
      writeFileSync(whole, Buffer.alloc(lockFileBytes), { mode: 0o600, flush: true })
      linkSync(whole, lockFile)
    } catch (error) {
      // Another process was first, or the file system has no hard links. In the latter case lmdb creates the file.
      if (!['EEXIST', 'EPERM', 'ENOTSUP', 'EOPNOTSUPP'].includes((error as NodeJS.ErrnoException).code ?? ''))
        throw error
    } finally {
      rmSync(whole, { force: true })
    }
  } else if (there.blocks * 512 < there.size) {
    const { bavail, bsize } = statfsSync(lockFile)
    if (bavail * bsize < there.size)
      throw Object.assign(new Error(`there is no room for the rest of ${lockFile}`), { code: 'ENOSPC' })
  }
}

/** The path of the data file, if users other than the owner and the group can read it. */
export function readableByAll(path: string): string | undefined {
  const open = (file: string, bits: number) => (statSync(file).mode & bits) !== 0
  return open(dirname(path), 0o001) && open(path, 0o006) ? path : undefined
}

interface Identity {
  readonly path: string
  readonly dev: bigint
  readonly ino: bigint
}

/**
 * The files that an environment has open. While they are open, the system gives their inode numbers to no other files.
 */
export class OpenedFiles {
  readonly #file: number
  readonly #identities: readonly Identity[]
  #newest: bigint
  /** Never reset: transaction numbers now continue from the content that replaced ours. */
  #writtenOver = false

  constructor(readonly path: string) {
    this.#file = openSync(path, 'r')
    const { dev, ino } = fstatSync(this.#file, { bigint: true })
    const lock = statSync(lockFileOf(path), { bigint: true })
    this.#identities = [
      { path, dev, ino },
      { path: lockFileOf(path), dev: lock.dev, ino: lock.ino },
    ]
    this.#newest = this.#newestTransaction ?? 0n
  }

  /** What happened to the files since they were opened; undefined if they are still in place. */
  get displaced(): string | undefined {
    try {
      for (const { path, dev, ino } of this.#identities) {
        const now = statSync(path, { bigint: true, throwIfNoEntry: false })
        if (now === undefined) return `${path} is gone`
        if (now.dev !== dev || now.ino !== ino) return `${path} was replaced by another file`
      }
      const newest = this.#newestTransaction
      this.#writtenOver ||= newest === undefined || newest < this.#newest
      if (this.#writtenOver) return `${this.path} was overwritten by another program`
      this.#newest = newest ?? this.#newest
      return undefined
    } catch (error) {
      return `${this.path} cannot be checked: ${describeError(error)}`
    }
  }

  close(): void {
    closeSync(this.#file)
  }

  get #newestTransaction(): bigint | undefined {
    const [a, b] = readMetas(this.#file)?.map(transactionOf) ?? []
    return a === undefined || b === undefined || a > b ? a : b
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

const transactionOf = (page: DataView): bigint => page.getBigUint64(meta.transaction, true)

/** Both meta pages; undefined if the file has none. */
function readMetas(file: number): readonly [DataView, DataView] | undefined {
  const first = readMeta(file, 0)
  const second = first && readMeta(file, first.getUint32(meta.pageSize, true))
  return first && second && [first, second]
}

/** The meta page at an offset; undefined if there is none. */
function readMeta(file: number, offset: number): DataView | undefined {
  const bytes = new DataView(new ArrayBuffer(meta.size))
  if (readSync(file, bytes, 0, meta.size, offset) < meta.size) return undefined
  if (bytes.getUint32(meta.magic, true) !== magic) return undefined
  return (bytes.getUint32(meta.version, true) & 0xffff) === version ? bytes : undefined
}
