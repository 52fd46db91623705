// Reads the store's tables in one lmdb file.

import type { Records } from './records.js'
import type { RecordRange, StoreReader, Table } from './store.js'

export class FileTables implements StoreReader {
  constructor(readonly records: Readonly<Record<Table, Records>>) {}

  get(table: Table, key: string): Buffer | undefined {
    return this.records[table].get(key)
  }

  prefetch(table: Table, key: string): Promise<void> {
    return this.records[table].prefetch(key)
  }

  range(table: Table, range?: RecordRange): Iterable<readonly [string, Buffer]> {
    return this.records[table].range(range)
  }

  count(table: Table): number {
    return this.records[table].count
  }
}
