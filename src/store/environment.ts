// One lmdb file: opened only if it is sound, and one transaction after the other, each durable before it is answered.

import { spawnSync } from 'node:child_process'
import { closeSync, fstatSync, mkdirSync, openSync, readSync } from 'node:fs'
import { open as openFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Database, open, type RootDatabase } from 'lmdb'
import { Problem } from '../problem.js'
import type { RecordRange } from './store.js'

export type Records = Database<Buffer, string>

const damaged = (path: string, what: string) =>
  new Problem(
    'storage_damaged',
    `the database ${path} is damaged: ${what}; restore it from a backup, or move it away to begin without it`,
  )

export class Environment {
  /** After a commit that failed lmdb never says that everything is flushed, and closing would wait for that. */
  #lastCommitFailed = false

  private constructor(
    readonly path: string,
    readonly root: RootDatabase,
  ) {}

  /** @throws Problem `invalid_setting` if the directory cannot be used, `storage_damaged` */
  static open(path: string): Environment {
    try {
      mkdirSync(dirname(path), { recursive: true })
      checkSound(path)
      // A batch of an event turn has a promise of its own that nobody could catch.
      return new Environment(path, open({ path, maxDbs: 32, eventTurnBatching: false }))
    } catch (error) {
      if (error instanceof Problem) throw error
      throw new Problem(
        'invalid_setting',
        `the data directory ${dirname(path)} cannot be used: ${(error as Error).message}`,
      )
    }
  }

  records(name: string): Records {
    return this.root.openDB<Buffer, string>({ name, encoding: 'binary' })
  }

  /**
   * Writes in one transaction, and resolves once it is durable. One at a time: what lmdb calls flushed is about all.
   * @throws Problem `storage_failed`; then nothing was changed, and the next commit may succeed
   */
  async commit<T>(body: () => T): Promise<T> {
    try {
      this.#lastCommitFailed = true
      const result = await this.root.transaction(body)
      await this.root.flushed
      this.#lastCommitFailed = false
      return result
    } catch (error) {
      const { message } = await reasonOf(error as Error)
      throw new Problem(
        'storage_failed',
        `${this.path} cannot be written: ${message}; make room, or the directory writable, and try again`,
      )
    }
  }

  /** Writes what one transaction left behind to a file that is not there yet, while others go on reading and writing. */
  async backup(path: string): Promise<void> {
    await this.root.backup(path, false)
    const file = await openFile(path)
    try {
      await file.sync()
    } finally {
      await file.close()
    }
  }

  async close(): Promise<void> {
    if (!this.#lastCommitFailed) await this.root.close()
  }
}

/** lmdb rejects with the reason of a failed commit in a promise of its own. */
async function reasonOf(error: Error & { commitError?: Promise<never> }): Promise<Error> {
  return (await error.commitError?.catch((reason: Error) => reason)) ?? error
}

export function* readRange(
  records: Records,
  { after, before, limit }: RecordRange = {},
): Iterable<readonly [string, Buffer]> {
  const bounds = {
    ...(after !== undefined && { start: after, exclusiveStart: true }),
    ...(before !== undefined && { end: before }),
    ...(limit !== undefined && { limit }),
  }
  for (const { key, value } of records.getRange(bounds)) yield [key, value]
}

export const countOf = (records: Records): number => (records.getStats() as { entryCount: number }).entryCount

/** Where lmdb's two meta pages hold what, in bytes from the page's begin. */
const meta = { size: 160, magic: 24, version: 28, pageSize: 48, lastPage: 144 }
const magic = 0xbeefc0de
const version = 2

/**
 * lmdb trusts its file: a damaged one would end the process. A file that ends before its last page may be sound, if
 * that page is free; whether it is a process of its own finds out, by reading everything.
 */
function checkSound(path: string): void {
  const file = openIfThere(path)
  if (file === undefined) return
  try {
    const { size } = fstatSync(file)
    if (size === 0) return
    const first = readMeta(file, 0)
    const pageSize = first?.getUint32(meta.pageSize, true) ?? 0
    const second = first && readMeta(file, pageSize)
    if (!second) throw damaged(path, `its ${size} bytes are not those of an lmdb file`)
    const pages = Math.max(...[first, second].map((page) => Number(page.getBigUint64(meta.lastPage, true)))) + 1
    if (size >= pages * pageSize) return
    const reader = fileURLToPath(new URL('./read-all.js', import.meta.url))
    const { status, signal } = spawnSync(process.execPath, [reader, path], { stdio: 'ignore' })
    if (status !== 0) throw damaged(path, `it has ${size} of ${pages * pageSize} bytes (${signal ?? 'unreadable'})`)
  } finally {
    closeSync(file)
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

/** The meta page at an offset; undefined if that is none. */
function readMeta(file: number, offset: number): DataView | undefined {
  const bytes = new DataView(new ArrayBuffer(meta.size))
  if (readSync(file, bytes, 0, meta.size, offset) < meta.size) return undefined
  if (bytes.getUint32(meta.magic, true) !== magic) return undefined
  return (bytes.getUint32(meta.version, true) & 0xffff) === version ? bytes : undefined
}
