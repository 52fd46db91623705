// A publication as one message to PostgreSQL. The server has all of it before it begins, and needs nothing from the
// replica until it has committed: the lock of changes is never held while something is on its way.

import pg from 'pg'
import type { Publication } from './attempt.js'
import type { Position } from './mirror-file.js'
import { isSmallTable, smallTables, type Table } from './store.js'

/** Of the advisory lock, among those of other programs in the database. */
export const lockKey = 0x70726f70
export const channel = 'propetl_changes'
/** Records of small tables, at most, that come with the answer. */
export const maxNewerRecords = 500

/** What the last statement of the message returns. */
export interface PublicationRow {
  /** Whether the database has the change that was read from. */
  readonly known: boolean
  /** The newest change before. */
  readonly head: string
  /** Tables in which something has changed that was read or is written. */
  readonly changed: readonly Table[] | null
  /** If something has, the records of small tables that have: table, key and value, the latter in base64. */
  readonly newer: readonly (readonly [Table, string, string | null])[] | null
  /** The number of the change that was made; null if none was. */
  readonly number: string | null
  /** When it was made, in milliseconds of the epoch. */
  readonly made_at: number
}

/**
 * @param mark of the change that is to be made
 * @param sent SQL of a value that the session was sent before
 */
export function publicationText(
  { from, smallAt, spans, writes }: Publication,
  mark: string,
  sent: (value: Buffer) => string | undefined,
): string {
  const ranges = spans.map(({ table, from: first, until }) => {
    const since = isSmallTable(table) ? smallAt : from.number
    return `('${table}', ${bytea(first)}, ${until === undefined ? 'null::bytea' : bytea(until)}, ${since}::bigint)`
  })
  const state = `state as (
    select
      exists (select from propetl_changes where ${isAt(from)}) as known,
      (select max(number) from propetl_changes) as head,
      (select array_agg(distinct r.table_name)
       from (values ${ranges.join(', ')}) as span (table_name, first, last, since)
       join propetl_records as r
         on r.table_name = span.table_name and r.key >= span.first and (span.last is null or r.key < span.last)
       where r.change > ${from.number} and r.change > span.since) as changed
  )`
  const newer = `case when changed is not null then (
    select json_agg(json_build_array(table_name, encode(key, 'base64'), encode(value, 'base64')))
    from (
      select table_name, key, value from propetl_records
      where change > ${smallAt} and table_name in (${smallTables.map((table) => `'${table}'`).join(', ')})
      limit ${maxNewerRecords}
    ) as record
  ) end as newer`
  // Where nothing is written, only what was read has to be true.
  if (writes.length === 0) return `with ${state} select known, head, changed, ${newer}, null as number from state`
  const records = writes.map(({ table, key, value }) => {
    const bytes = value === undefined ? 'null::bytea' : (sent(value) ?? bytea(value))
    return `('${table}', ${bytea(key)}, ${bytes})`
  })
  return `select pg_advisory_xact_lock(${lockKey});
    with ${state}, change as (
      insert into propetl_changes (number, mark)
      select head + 1, ${pg.escapeLiteral(mark)}::uuid from state where known and changed is null
      returning number, floor(extract(epoch from made_at) * 1000)::float8 as made_at, pg_notify('${channel}', '')
    ), written as (
      insert into propetl_records (table_name, key, value, change)
      select record.table_name, record.key, record.value, change.number
      from change cross join (values ${records.join(', ')}) as record (table_name, key, value)
      on conflict (table_name, key) do update set value = excluded.value, change = excluded.change
    )
    select known, head, changed, ${newer}, change.number, change.made_at
    from state left join change on true`
}

const isAt = ({ number, mark }: Position): string =>
  `number = ${Math.trunc(number)} and mark = ${pg.escapeLiteral(mark)}::uuid`

/** In base64, which has nothing that would have to be escaped. */
const bytea = (value: Uint8Array | string): string => `decode('${Buffer.from(value).toString('base64')}', 'base64')`
