// The store of one machine: one lmdb environment. What it holds takes no memory of this process but the pages that are
// being read.

import { mkdirSync } from 'node:fs'
import { type Database, open, type RootDatabase } from 'lmdb'
import { Problem } from '../problem.js'
import { type RecordRange, type Store, type StoreWriter, type Table, tables } from './store.js'

type Tables = Readonly<Record<Table, Database<Buffer, string>>>

export class LmdbStore implements Store {
  private constructor(
    readonly root: RootDatabase,
    readonly tables: Tables,
  ) {}

  /** @throws Problem `invalid_setting` if the directory cannot be used */
  static open(directory: string): LmdbStore {
    try {
      mkdirSync(directory, { recursive: true })
      const root = open({ path: `${directory}/tasks.lmdb`, maxDbs: 16 })
      const opened = tables.map((name) => [name, root.openDB<Buffer, string>({ name, encoding: 'binary' })] as const)
      return new LmdbStore(root, Object.fromEntries(opened) as Tables)
    } catch (error) {
      throw new Problem(
        'invalid_setting',
        `the data directory ${directory} cannot be used: ${(error as Error).message}`,
      )
    }
  }

  get(table: Table, key: string): Buffer | undefined {
    return this.tables[table].get(key)
  }

  *range(table: Table, { after, before, limit }: RecordRange = {}): Iterable<readonly [string, Buffer]> {
    const bounds = {
      ...(after !== undefined && { start: after, exclusiveStart: true }),
      ...(before !== undefined && { end: before }),
      ...(limit !== undefined && { limit }),
    }
    for (const { key, value } of this.tables[table].getRange(bounds)) yield [key, value]
  }

  count(table: Table): number {
    return (this.tables[table].getStats() as { entryCount: number }).entryCount
  }

  async change<T>(change: (records: StoreWriter) => T): Promise<T> {
    try {
      const result = await this.root.transaction(() => change(this.#writer))
      await this.root.flushed
      return result
    } catch (error) {
      if (error instanceof Problem) throw error
      throw new Problem('storage_failed', `the change could not be stored: ${(error as Error).message}`)
    }
  }

  async close(): Promise<void> {
    await this.root.close()
  }

  readonly #writer: StoreWriter = {
    get: (table, key) => this.get(table, key),
    range: (table, range) => this.range(table, range),
    count: (table) => this.count(table),
    put: (table, key, value) => void this.tables[table].put(key, asBuffer(value)),
    remove: (table, key) => void this.tables[table].remove(key),
  }
}

const asBuffer = ({ buffer, byteOffset, byteLength }: Uint8Array): Buffer => Buffer.from(buffer, byteOffset, byteLength)
