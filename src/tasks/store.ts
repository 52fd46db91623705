// Uploaded task files, in the store: of each task its file and the file's digest, and of each owner what it has stored,
// changed together.

import { type RecordRange, recordsIn, type Store, type StoreWriter } from '../store/store.js'
import { type Owner, operator } from '../tenants/tenant.js'
import { charge, setUsage, type Usage, usageOf } from '../tenants/usage.js'

export interface StoredTask {
  readonly id: string
  /** SHA-256 of the file. */
  readonly digest: string
}

/** Looks at the version that is there, undefined for none, and throws if it is not the one that was expected. */
export type Precondition = (current: string | undefined) => void

/** Tasks that go in one change when all of an owner's do: the server answers others in between. */
const removedTogether = 500

export class TaskStore {
  private constructor(readonly store: Store) {}

  /** Counts what the operator has stored, if the store is from before that was counted. */
  static async open(store: Store): Promise<TaskStore> {
    if (store.get('usage', operator) === undefined)
      await store.change((records) => {
        let usage: Usage = { tasks: 0, bytes: 0 }
        for (const [, file] of records.range('files', rangeOf(operator)))
          usage = { tasks: usage.tasks + 1, bytes: usage.bytes + file.byteLength }
        setUsage(records, operator, usage)
      })
    return new TaskStore(store)
  }

  digest(owner: Owner, id: string): string | undefined {
    return this.store.get('versions', recordKey(owner, id))?.toString()
  }

  file(owner: Owner, id: string): Uint8Array | undefined {
    return this.store.get('files', recordKey(owner, id))
  }

  /** Of all owners. */
  get count(): number {
    return this.store.count('versions')
  }

  countOf(owner: Owner): number {
    return usageOf(this.store, owner).tasks
  }

  /** Up to `limit` tasks of an owner whose ids follow `after`, in the order of their ids. */
  list(owner: Owner, after: string, limit: number): StoredTask[] {
    const records = this.store.range('versions', { ...rangeOf(owner, after), limit })
    const prefix = recordKey(owner, '').length
    return Array.from(records, ([key, digest]) => ({ id: key.slice(prefix), digest: digest.toString() }))
  }

  /**
   * Stores a file under an id, in place of what was there; resolves once it would survive a power cut.
   * @returns the version that it replaced
   * @throws Problem `quota_exceeded`, `unknown_tenant`, whatever the precondition throws
   */
  async put(
    owner: Owner,
    id: string,
    digest: string,
    file: Uint8Array,
    precondition: Precondition,
  ): Promise<string | undefined> {
    const key = recordKey(owner, id)
    return this.store.change((records) => {
      const current = records.get('versions', key)?.toString()
      precondition(current)
      const bytes = file.byteLength - (records.get('files', key)?.byteLength ?? 0)
      charge(records, owner, { tasks: current === undefined ? 1 : 0, bytes })
      records.put('versions', key, Buffer.from(digest))
      records.put('files', key, file)
      return current
    })
  }

  /**
   * Removes a task; resolves once that would survive a power cut.
   * @returns the version that it removed, undefined where the precondition let none be removed
   */
  async delete(owner: Owner, id: string, precondition: Precondition): Promise<string | undefined> {
    return this.store.change((records) => {
      const current = records.get('versions', recordKey(owner, id))?.toString()
      precondition(current)
      if (current !== undefined) remove(records, owner, [id])
      return current
    })
  }

  /** Removes all tasks of an owner. @returns how many there were */
  async clear(owner: Owner): Promise<number> {
    let count = 0
    for (;;) {
      const ids = this.list(owner, '', removedTogether).map(({ id }) => id)
      if (ids.length === 0) return count
      count += await this.store.change((records) => remove(records, owner, ids))
    }
  }
}

/** Removes those of the tasks that are there. @returns how many that were */
function remove(records: StoreWriter, owner: Owner, ids: readonly string[]): number {
  const sizes = ids.flatMap((id) => records.get('files', recordKey(owner, id))?.byteLength ?? [])
  charge(records, owner, { tasks: -sizes.length, bytes: -sizes.reduce((sum, size) => sum + size, 0) })
  for (const id of ids) {
    records.remove('versions', recordKey(owner, id))
    records.remove('files', recordKey(owner, id))
  }
  return sizes.length
}

/** The operator's tasks lie under their bare ids, before all others: "~" sorts behind every character of an id. */
const recordKey = (owner: Owner, id: string): string => (owner === operator ? id : `~${owner}/${id}`)

const rangeOf = (owner: Owner, after = ''): RecordRange =>
  owner === operator ? { after, before: '~' } : recordsIn(`~${owner}`, after)
