// The schema of the shared database, and how a database gets it.

import { Problem } from '../problem.js'
import type { Connection } from './connection.js'
import { readOnlyServer } from './database-errors.js'
import { lockKey } from './publication.js'

/**
 * `propetl_records`: every record with the number of the change that last wrote it. A record without a value was
 * removed. `propetl_changes`: the changes from which a mirror can continue. Each change is made under one lock, so
 * their numbers have no gaps and are in the order of commits. A mark tells a change from one with the same number in
 * another history.
 */
const migrations: readonly string[] = [
  `create table propetl_records (
     table_name text not null,
     key bytea not null,
     value bytea,
     change bigint not null,
     primary key (table_name, key)
   );
   alter table propetl_records alter column value set storage external;
   create index propetl_records_by_change on propetl_records (change);
   create index propetl_records_removed on propetl_records (change) where value is null;
   create table propetl_changes (
     number bigint primary key,
     mark uuid not null default gen_random_uuid(),
     made_at timestamptz not null default now()
   );
   insert into propetl_changes (number) values (0)`,
]

/** How many changes the database remembers. A mirror that is further behind is rebuilt. */
export const rememberedChanges = 100_000

/** The oldest major version of PostgreSQL that this program supports. */
const oldestServer = 13

/** @throws Problem `invalid_setting` for an old server; Error for a read-only one */
export async function checkServer(connection: Connection): Promise<void> {
  const [server] = await connection.rows<{ version: string; read_only: string }>(
    "select current_setting('server_version_num') as version, current_setting('transaction_read_only') as read_only",
  )
  if (Number(server?.version) < oldestServer * 10_000)
    throw new Problem('invalid_setting', `the database is older than PostgreSQL ${oldestServer}`)
  if (server?.read_only === 'on') throw readOnlyServer()
}

/**
 * Creates the schema or migrates it. If several replicas start at the same time, one of them does.
 * @throws Problem `invalid_setting` for a schema of a later version
 */
export async function migrate(connection: Connection): Promise<void> {
  if ((await versionOf(connection)) === migrations.length) return
  await connection.transaction(`begin; select pg_advisory_xact_lock(${lockKey})`, async () => {
    await connection.query('create table if not exists propetl_schema (version integer not null)')
    const version = await versionOf(connection)
    if (version > migrations.length)
      throw new Problem(
        'invalid_setting',
        `the database has schema ${version}, and this version of propetl supports schema ${migrations.length}; run the later version`,
      )
    for (const migration of migrations.slice(version)) await connection.query(migration)
    await connection.query('delete from propetl_schema')
    await connection.rows('insert into propetl_schema values ($1)', [migrations.length])
  })
}

/** 0 for a database without a schema. */
async function versionOf(connection: Connection): Promise<number> {
  const [found] = await connection.rows<{ there: boolean }>("select to_regclass('propetl_schema') is not null as there")
  if (!found?.there) return 0
  const [row] = await connection.rows<{ version: number }>('select version from propetl_schema')
  return row?.version ?? 0
}
