// Removes many records in transactions of bounded size.

import type { RecordRange, StoreWriter, Table } from '../store/store.js'

/** Most records of one transaction, and most bytes of them. */
const perPage = { records: 500, bytes: 8 << 20 } as const

/**
 * Removes the first records of a range.
 * @returns whether no more are left
 */
export function removePage(records: StoreWriter, table: Table, range: RecordRange): boolean {
  const keys: string[] = []
  let bytes = 0
  for (const [key, value] of records.range(table, { ...range, limit: perPage.records })) {
    keys.push(key)
    bytes += value.byteLength
    if (bytes >= perPage.bytes) break
  }
  for (const key of keys) records.remove(table, key)
  return keys.length < perPage.records && bytes < perPage.bytes
}
