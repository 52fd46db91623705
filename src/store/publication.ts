// A publication as one message to PostgreSQL. The server has the whole message before it starts, and needs nothing from
// the replica until it has committed. The lock of changes is therefore never held while data is in transit.

import pg from 'pg'
import type { Publication } from './attempt.js'
import type { Position } from './mirror-file.js'
import { isSmallTable, smallTables, type Table } from './store.js'

/** The key of the advisory lock. Other programs in the database have other keys. */
export const lockKey = 0x70726f70
export const channel = 'propetl_changes'
/** The most records of small tables that a response contains. */
export const maxNewerRecords = 500

/** The row that the last statement of the message returns. */
export interface PublicationRow {
  /** Whether the database has the change whose state was read. */
  readonly known: boolean
  /** The number of the newest change before this one. */
  readonly head: string
  /** Tables with records in the spans that have changed since they were read. */
  readonly changed: readonly Table[] | null
  /** If such records exist, the newer records of small tables: table, key in base64, and value in base64. */
  readonly newer: readonly (readonly [Table, string, string | null])[] | null
  /** The number of the change that was made. Null if none was made. */
  readonly number: string | null
  /** When it was made, in milliseconds of the epoch. */
  readonly made_at: number
}

/**
 * @param mark the mark of the new change
 * @param sent SQL for a value that was sent to the session before
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
  // Without writes, it is enough that what was read is still current.
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

/** In base64, whose characters need no escaping. */
const bytea = (value: Uint8Array | string): string => `decode('${Buffer.from(value).toString('base64')}', 'base64')`
