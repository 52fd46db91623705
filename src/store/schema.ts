// What the shared database is made of, and how an older one becomes the current one.

/**
 * `propetl_records`: every record with the number of the change that last wrote it; one without a value was removed.
 * `propetl_changes`: the changes that a mirror may stand at. Their numbers have no gaps and are in the order of commits,
 * for each change is made under one lock; a mark tells a change from that of another history with the same number.
 */
export const migrations: readonly string[] = [
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

/** Changes that are remembered: a mirror that stands further back is made anew. */
export const rememberedChanges = 100_000
