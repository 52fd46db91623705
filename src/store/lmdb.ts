// The store of one machine: one lmdb file. What it holds takes no memory of this process but the pages that are being
// read. Several processes of the machine may share it.

import type { Problem } from '../problem.js'
import { asBuffer } from './bytes.js'
import { countOf, Environment, type Records, readRange } from './environment.js'
import { PendingChange } from './pending.js'
import { forTables, type RecordRange, type Store, type StoreWriter, type Table } from './store.js'

export const taskFile = (directory: string): string => `${directory}/tasks.lmdb`

export class LmdbStore implements Store {
  readonly following = undefined
  readonly #waiting: PendingChange[] = []
  #committing: Promise<void> | undefined

  private constructor(
    readonly environment: Environment,
    readonly records: Readonly<Record<Table, Records>>,
  ) {}

  /** @throws Problem `invalid_setting` if the directory cannot be used, `storage_damaged` */
  static open(directory: string): LmdbStore {
    const environment = Environment.open(taskFile(directory))
    return new LmdbStore(
      environment,
      forTables((table) => environment.records(table)),
    )
  }

  get(table: Table, key: string): Buffer | undefined {
    return this.records[table].get(key)
  }

  range(table: Table, range?: RecordRange): Iterable<readonly [string, Buffer]> {
    return readRange(this.records[table], range)
  }

  count(table: Table): number {
    return countOf(this.records[table])
  }

  change<T>(change: (records: StoreWriter) => T): Promise<T> {
    const pending = new PendingChange(change)
    this.#waiting.push(pending as PendingChange)
    this.#committing ??= this.#commitAll()
    return pending.settled
  }

  async close(): Promise<void> {
    await this.#committing
    await this.environment.close()
  }

  /** What waits while a transaction becomes durable goes into the next one together. */
  async #commitAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const changes = this.#waiting.splice(0)
      try {
        await this.environment.commit(() => {
          for (const change of changes) change.run(this.#writer)
        })
        for (const change of changes) change.settle()
      } catch (error) {
        for (const change of changes) change.refuse(error as Problem)
      }
    }
    // In the same breath as the last look: a change that comes later begins anew.
    this.#committing = undefined
  }

  readonly #writer: StoreWriter = {
    get: (table, key) => this.get(table, key),
    range: (table, range) => this.range(table, range),
    count: (table) => this.count(table),
    put: (table, key, value) => void this.records[table].put(key, asBuffer(value)),
    remove: (table, key) => void this.records[table].remove(key),
  }
}
