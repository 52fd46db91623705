// What survives a restart, as the rest of the server sees it: tables of records. Reads are local and immediate. A
// change is one transaction; its promise resolves once the change would survive a power failure.

/**
 * `versions`: a task's key → the digest of its file. `files`: a task's key → its file.
 * `tenants`: a tenant's id → the tenant. `keys`: an API key's owner and id → its hash and terms, but not the key.
 * `usage`: an owner → how much it has stored.
 * `history`: a task's key and the number of a version → who made it, when, and from what.
 * `kept`: a task's key and a digest → the file of a version that is not the current one. `reports`: a task's key and the
 * number of a version → the report of its training.
 * `datasets`: a task's key → how many examples it has. `examples`: a task's key, a dataset and an example → the example.
 * `removals`: a task's key and a dataset that is being removed. `recent`: a task's key and a text → a text that was
 * predicted lately.
 * `jobs`: an owner and a job → the job. `unfinished`: the same for jobs that wait or run.
 */
export const tables = [
  'versions',
  'files',
  'tenants',
  'keys',
  'usage',
  'history',
  'kept',
  'reports',
  'datasets',
  'examples',
  'removals',
  'recent',
  'jobs',
  'unfinished',
] as const
export type Table = (typeof tables)[number]

/** Tables of small records, which decide what callers may do. A replica updates them before large task files arrive. */
export const smallTables: readonly Table[] = ['tenants', 'keys', 'usage']
export const isSmallTable = (table: Table): boolean => smallTables.includes(table)

/** One value for each table. */
export const forTables = <T>(make: (table: Table) => T): Record<Table, T> =>
  Object.fromEntries(tables.map((table) => [table, make(table)])) as Record<Table, T>

export interface RecordRange {
  /** Only keys after this one. */
  readonly after?: string
  /** Only keys before this one. */
  readonly before?: string
  /** The most records to return. */
  readonly limit?: number
}

/** Records with keys of the form `folder/name`, whose names come after `after`. "0" is the character after "/". */
export const recordsIn = (folder: string, after = ''): RecordRange => ({
  after: `${folder}/${after}`,
  before: `${folder}0`,
})

/** Reads throw Problem `storage_unavailable` if the files were replaced since they were opened, or cannot be read. */
export interface StoreReader {
  get(table: Table, key: string): Buffer | undefined
  /** Records in the order of the UTF-8 bytes of their keys. */
  range(table: Table, range?: RecordRange): Iterable<readonly [key: string, value: Buffer]>
  count(table: Table): number
}

/** A store that can load records ahead of reading them. */
export interface ReadableStore extends StoreReader {
  /** Loads a record from the disk into memory on another thread, so that `get` does not wait for the disk. */
  prefetch(table: Table, key: string): Promise<void>
}

/** A file with the records of a store, which other processes of this machine may read (shared-reader.ts). */
export interface SharedFile {
  readonly kind: 'store' | 'mirror'
  readonly path: string
  /** Which file it is. Another one may be put in its place. */
  readonly dev: number
  readonly ino: number
}

/** Reads see the earlier writes of the same change. */
export interface StoreWriter extends StoreReader {
  put(table: Table, key: string, value: Uint8Array): void
  remove(table: Table, key: string): void
}

/**
 * `away`: the database cannot be reached or used. `copying`: a full copy is being made or is due. `other_history`: the
 * database lacks changes of the mirror and is not followed. `mirror_failed`: the mirror cannot be written.
 */
export const followingStates = ['following', 'away', 'copying', 'other_history', 'mirror_failed'] as const
export type FollowingState = (typeof followingStates)[number]

/** How well a store that mirrors a shared database keeps up with it. */
export interface Following {
  /** The database is followed, and changes can be made. */
  readonly connected: boolean
  readonly state: FollowingState
  /**
   * When the mirror was last known to have every change, in milliseconds of the epoch. At first, the time of the start.
   */
  readonly upToDateAt: number
  readonly mirror: {
    /** Full copies since the start. */
    readonly copies: number
    /** How often the mirror was found damaged or missing since the start. */
    readonly damaged: number
    /** Bytes that are kept in memory because the file cannot be written. */
    readonly unwrittenBytes: number
  }
}

/** For how many seconds there may have been changes that the mirror does not have. */
export const secondsBehind = ({ upToDateAt }: Following): number => Math.max(0, Date.now() - upToDateAt) / 1000

export interface Store extends ReadableStore {
  /**
   * Makes a change. No other change comes between its reads and its writes. Small changes may overtake large ones.
   * @param change reads and writes synchronously. It may throw before its first write; then nothing changes. It runs
   *   again if others have changed what it read, or if its transaction was lost
   * @param owner for whom the change is made. Large changes of one owner are made one after the other
   * @returns what `change` returned, once all of it is durable
   * @throws Problem `storage_failed` if it could not be stored; `storage_unavailable` while the store accepts no
   *   changes; `outcome_unknown` if it may have been made or not; errors of `change`. With all others it was not made
   */
  change<T>(change: (records: StoreWriter) => T, owner?: string): Promise<T>
  /** The file with all records that can be read here; undefined while there is none. */
  readonly sharedFile: SharedFile | undefined
  /** Called when `sharedFile` has changed. */
  onSharedFile: () => void
  /** Why the local files cannot be read or accept no changes; undefined while they work. */
  readonly failure: string | undefined
  /** Undefined for a store that is not a mirror. */
  readonly following: Following | undefined
  /** Gives up changes that wait for a database: they are rejected, or their outcome is unknown. Reads continue. */
  abortChanges(): void
  close(): Promise<void>
}
