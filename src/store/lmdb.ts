// The store of one machine: one lmdb file. Its records take no memory of this process except for the pages that are
// being read. Several processes of the machine may share it.

import { statSync } from 'node:fs'
import { Problem } from '../problem.js'
import { asBuffer } from './bytes.js'
import { Environment, type StorageOptions } from './environment.js'
import { FileTables } from './file-tables.js'
import { PendingChange } from './pending.js'
import type { Records } from './records.js'
import { forTables, type SharedFile, type Store, type StoreWriter, type Table } from './store.js'

export const storePath = (directory: string): string => `${directory}/tasks.lmdb`

/** The version of the stored format. A later version of this program uses it to decide what to migrate. */
const schema = '1'

export class LmdbStore extends FileTables implements Store {
  readonly following = undefined
  /** The file never changes, so that this is never called. */
  onSharedFile = (): void => {}
  readonly sharedFile: SharedFile
  readonly #waiting: PendingChange[] = []
  #committing: Promise<void> | undefined

  private constructor(
    readonly environment: Environment,
    records: Readonly<Record<Table, Records>>,
    readonly about: Records,
  ) {
    super(records)
    const { path } = environment
    const { dev, ino } = statSync(path)
    this.sharedFile = { kind: 'store', path, dev, ino }
  }

  /**
   * @throws Problem `invalid_setting` if the directory cannot be used, or a later version of this program wrote to it;
   *   `storage_damaged`
   */
  static open(directory: string, options?: StorageOptions): LmdbStore {
    const environment = Environment.open(storePath(directory), options)
    const about = environment.records('about')
    const found = about.get('schema')?.toString() ?? schema
    if (found !== schema) {
      void environment.close()
      throw new Problem(
        'invalid_setting',
        `the database ${environment.path} has schema ${found}, and this version of propetl supports schema ${schema}; ` +
          'run the version that wrote it, or restore an older backup',
      )
    }
    const tables = forTables((table) => environment.records(table))
    return new LmdbStore(environment, tables, about)
  }

  get failure(): string | undefined {
    return this.environment.failure
  }

  change<T>(change: (records: StoreWriter) => T): Promise<T> {
    const pending = new PendingChange(change)
    this.#waiting.push(pending as PendingChange)
    this.#committing ??= this.#commitAll()
    return pending.settled
  }

  /** A commit of lmdb cannot be aborted. */
  abortChanges(): void {}

  async close(): Promise<void> {
    await this.#committing
    await this.environment.close()
  }

  /** Changes that arrive while a transaction becomes durable are made together in the next one. */
  async #commitAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const changes = this.#waiting.splice(0)
      try {
        await this.environment.commit(() => {
          // Older stores have no schema number and get one with their first change.
          if (this.about.get('schema') === undefined) this.about.put('schema', Buffer.from(schema))
          for (const change of changes) change.run(this.#writer)
        })
        for (const change of changes) change.settle()
      } catch (error) {
        for (const change of changes) change.reject(error as Problem)
      }
    }
    // No await since the loop's last check: a change that comes later starts a new loop.
    this.#committing = undefined
  }

  readonly #writer: StoreWriter = {
    get: (table, key) => this.get(table, key),
    range: (table, range) => this.range(table, range),
    count: (table) => this.count(table),
    put: (table, key, value) => this.records[table].put(key, asBuffer(value)),
    remove: (table, key) => this.records[table].remove(key),
  }
}
