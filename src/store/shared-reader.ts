// Reads the store of another process of this machine, which makes all changes and says which file has the records.

import { statSync } from 'node:fs'
import { dirname } from 'node:path'
import { LmdbStore } from './lmdb.js'
import { MirrorFile } from './mirror-file.js'
import { unavailable } from './storage-problems.js'
import type { ReadableStore, RecordRange, SharedFile, Table } from './store.js'

interface Opened {
  readonly file: SharedFile
  readonly tables: LmdbStore | MirrorFile
}

export class SharedReader implements ReadableStore {
  #opened: Opened | undefined

  /** Whether there is a file to read. */
  get readable(): boolean {
    return this.#opened !== undefined
  }

  /**
   * Reads a file from now on, or none.
   * @throws Problem `storage_unavailable` if another file is in its place; `invalid_setting`, `storage_damaged`
   */
  async use(file: SharedFile | undefined): Promise<void> {
    const before = this.#opened
    if (file !== undefined && before !== undefined && isSame(before.file, file)) return
    // lmdb cannot have one path open twice.
    if (file === undefined || before?.file.path === file.path) await this.close()
    if (file === undefined) return
    this.#opened = { file, tables: openTables(file) }
    if (before !== undefined && before.file.path !== file.path) await before.tables.close()
  }

  /** Makes the next read see every change that was made before this call. */
  refresh(): void {
    this.#opened?.tables.environment.refresh()
  }

  get(table: Table, key: string): Buffer | undefined {
    return this.#tables.get(table, key)
  }

  range(table: Table, range?: RecordRange): Iterable<readonly [string, Buffer]> {
    return this.#tables.range(table, range)
  }

  count(table: Table): number {
    return this.#tables.count(table)
  }

  prefetch(table: Table, key: string): Promise<void> {
    return this.#tables.prefetch(table, key)
  }

  async close(): Promise<void> {
    const { tables } = this.#opened ?? {}
    this.#opened = undefined
    await tables?.close()
  }

  get #tables(): Opened['tables'] {
    if (this.#opened === undefined) throw unavailable('this process has no file of the store to read')
    return this.#opened.tables
  }
}

const isSame = (a: Pick<SharedFile, 'dev' | 'ino'>, b: Pick<SharedFile, 'dev' | 'ino'>): boolean =>
  a.dev === b.dev && a.ino === b.ino

/** lmdb would create a file that is missing. */
function openTables(file: SharedFile): LmdbStore | MirrorFile {
  const { kind, path } = file
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined || !isSame(found, file)) throw unavailable(`${path} was removed or replaced`)
  return kind === 'mirror' ? MirrorFile.open(path) : LmdbStore.open(dirname(path))
}
