// What survives a restart, as the rest of the server sees it: tables of records. Reading is local and immediate; a
// change is one transaction, and its promise resolves once it would survive a power cut.

/**
 * `versions`: a task's key → the digest of its file. `files`: a task's key → its file.
 * `tenants`: a tenant's id → the tenant. `keys`: an API key's owner and id → what is known of it, which is not the key.
 * `usage`: an owner → how many tasks and bytes it has stored.
 */
export const tables = ['versions', 'files', 'tenants', 'keys', 'usage'] as const
export type Table = (typeof tables)[number]

/** Tables of small records, which say who may do what. A replica takes them ahead of task files that are long in coming. */
export const smallTables: readonly Table[] = ['tenants', 'keys', 'usage']
export const isSmallTable = (table: Table): boolean => smallTables.includes(table)

/** Something for each table. */
export const forTables = <T>(make: (table: Table) => T): Record<Table, T> =>
  Object.fromEntries(tables.map((table) => [table, make(table)])) as Record<Table, T>

export interface RecordRange {
  /** Keys that follow this one, and not itself. */
  readonly after?: string
  /** Keys that come before this one. */
  readonly before?: string
  /** Records at most. */
  readonly limit?: number
}

/** Records whose keys are `folder/…`, those that follow one of the names in it. "0" is what follows "/". */
export const recordsIn = (folder: string, after = ''): RecordRange => ({
  after: `${folder}/${after}`,
  before: `${folder}0`,
})

/** Reading throws Problem `storage_unavailable` where the files are not those that were opened, or cannot be read. */
export interface StoreReader {
  get(table: Table, key: string): Buffer | undefined
  /** Records in the order of their keys, which is that of their UTF-8 bytes. */
  range(table: Table, range?: RecordRange): Iterable<readonly [key: string, value: Buffer]>
  count(table: Table): number
}

/** Reads see what was written before in the same change. */
export interface StoreWriter extends StoreReader {
  put(table: Table, key: string, value: Uint8Array): void
  remove(table: Table, key: string): void
}

/**
 * `away`: the database cannot be reached or used. `copying`: a full copy is made, or is to be. `other_history`: the
 * database lacks what the mirror holds, and is not followed. `mirror_failed`: the mirror cannot be written.
 */
export const followingStates = ['following', 'away', 'copying', 'other_history', 'mirror_failed'] as const
export type FollowingState = (typeof followingStates)[number]

/** How a store that mirrors a shared database keeps up with it. */
export interface Following {
  /** Changes are taken and followed. */
  readonly connected: boolean
  readonly state: FollowingState
  /** When it last was known to hold every change, or began to look for them, in milliseconds of the epoch. */
  readonly upToDateAt: number
  readonly mirror: {
    /** Full copies since the start. */
    readonly copies: number
    /** How often it was found damaged or lost since the start. */
    readonly damaged: number
    /** What is kept in memory because its file cannot be written. */
    readonly unwrittenBytes: number
  }
}

/** Since when there may be changes that are not here, in seconds. */
export const secondsBehind = ({ upToDateAt }: Following): number => Math.max(0, Date.now() - upToDateAt) / 1000

export interface Store extends StoreReader {
  /**
   * Makes a change, with no other between its reads and its writes. Of several that wait, small ones may go before large
   * ones.
   * @param change reads and writes, without waiting for anything; it may throw until it first writes, and then changes
   *   nothing. It runs again where others changed what it had read, or its transaction was lost
   * @param owner for whom it is made: of one owner's large changes one is made at a time
   * @returns what `change` returned, once all of it is durable
   * @throws Problem `storage_failed` if it could not be stored; `storage_unavailable` while the store takes no changes;
   *   `outcome_unknown` if it may have been made or not; whatever `change` throws. With all others it was not made
   */
  change<T>(change: (records: StoreWriter) => T, owner?: string): Promise<T>
  /** Brings a record from the disk into memory, on another thread, so that `get` need not wait for the disk. */
  prefetch(table: Table, key: string): Promise<void>
  /** Why this machine's files take no changes, or cannot be read; undefined while they can. */
  readonly failure: string | undefined
  /** Undefined where the records are this machine's own. */
  readonly following: Following | undefined
  /** Gives up changes that wait for a database: they are refused, or their outcome is unknown. Reading goes on. */
  abortChanges(): void
  close(): Promise<void>
}
