// The store's tables in one lmdb file, as they are read.

import { countOf, type Records, readRecords } from './environment.js'
import type { RecordRange, StoreReader, Table } from './store.js'

export class FileTables implements StoreReader {
  constructor(readonly records: Readonly<Record<Table, Records>>) {}

  get(table: Table, key: string): Buffer | undefined {
    return this.records[table].get(key)
  }

  prefetch(table: Table, key: string): Promise<void> {
    return this.records[table].prefetch([key])
  }

  range(table: Table, range?: RecordRange): Iterable<readonly [string, Buffer]> {
    return readRecords(this.records[table], range)
  }

  count(table: Table): number {
    return countOf(this.records[table])
  }
}
