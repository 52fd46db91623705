// The records of one lmdb table.

import type { Database } from 'lmdb'
import { isPanic } from './lmdb-root.js'
import { beingReopened } from './storage-problems.js'
import type { RecordRange } from './store.js'

/** What a table needs of the environment that it is in. */
interface TableEnvironment {
  readonly path: string
  database(table: string): Database<Buffer, string>
  prefetch(table: string, key: string): Promise<void>
  write(table: string, use: (database: Database<Buffer, string>) => unknown): void
}

/** Stays valid when the environment reopens its file. Reads throw Problem `storage_unavailable`. */
export class Records {
  constructor(
    readonly environment: TableEnvironment,
    readonly name: string,
  ) {}

  get(key: string): Buffer | undefined {
    return this.read((database) => database.get(key))
  }

  prefetch(key: string): Promise<void> {
    return this.environment.prefetch(this.name, key)
  }

  put(key: string, value: Buffer): void {
    this.environment.write(this.name, (database) => database.put(key, value))
  }

  remove(key: string): void {
    this.environment.write(this.name, (database) => database.remove(key))
  }

  clearSync(): void {
    this.environment.write(this.name, (database) => database.clearSync())
  }

  read<T>(use: (database: Database<Buffer, string>) => T): T {
    const database = this.environment.database(this.name)
    try {
      return use(database)
    } catch (error) {
      throw isPanic(error) ? beingReopened(this.environment.path) : error
    }
  }

  *range({ after, before, limit }: RecordRange = {}): Iterable<readonly [string, Buffer]> {
    const bounds = {
      ...(after !== undefined && { start: after, exclusiveStart: true }),
      ...(before !== undefined && { end: before }),
      ...(limit !== undefined && { limit }),
    }
    const { environment, name } = this
    const database = environment.database(name)
    for (const { key, value } of database.getRange(bounds)) {
      yield [key, value]
      if (environment.database(name) !== database) throw beingReopened(environment.path)
    }
  }

  get count(): number {
    return this.read((database) => (database.getStats() as { entryCount: number }).entryCount)
  }
}
