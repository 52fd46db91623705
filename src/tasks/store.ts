// Uploaded task files in the store. Each task has a record of its file and one of the digest; each owner has a record of its
// usage. They change in one transaction.

import type { Owner } from '../owner.js'
import type { ReadableStore, Store, StoreWriter } from '../store/store.js'
import { isLeaving, operator, ownerOf, type TaskOwner, type TenantIdentity } from '../tenants/tenant.js'
import { charge, limitsOf, setUsage, type Usage, usageAfter, usageOf } from '../tenants/usage.js'
import { taskKey, tasksOf } from './task-key.js'

export interface StoredTask {
  readonly id: string
  /** SHA-256 of the file. */
  readonly digest: string
}

/** Checks the current version, undefined if there is none. Throws a Problem if it is not the expected one. */
export type Precondition = (current: string | undefined) => void

/** Most tasks that one transaction of a deletion removes, so that other requests are served in between. */
const removedTogether = 500

/** Reads tasks from a store. */
export class TaskReader<S extends ReadableStore = ReadableStore> {
  constructor(readonly store: S) {}

  digest(owner: Owner, id: string): string | undefined {
    return this.store.get('versions', taskKey(owner, id))?.toString()
  }

  file(owner: Owner, id: string): Uint8Array | undefined {
    return this.store.get('files', taskKey(owner, id))
  }

  /** Reads the file of a task from disk into memory, on another thread. */
  prefetch(owner: Owner, id: string): Promise<void> {
    return this.store.prefetch('files', taskKey(owner, id))
  }

  /** Lists up to `limit` tasks of an owner with ids after `after`, in the order of their ids. */
  list(owner: Owner, after: string, limit: number): StoredTask[] {
    const records = this.store.range('versions', { ...tasksOf(owner, after), limit })
    const prefix = taskKey(owner, '').length
    return Array.from(records, ([key, digest]) => ({ id: key.slice(prefix), digest: digest.toString() }))
  }
}

export class TaskStore extends TaskReader<Store> {
  /** Counts the usage of the operator if an older version of the program wrote the store, without this record. */
  static async open(store: Store): Promise<TaskStore> {
    if (store.get('usage', operator) === undefined)
      await store.change((records) => {
        let usage: Usage = { tasks: 0, bytes: 0 }
        for (const [, file] of records.range('files', tasksOf(operator)))
          usage = { tasks: usage.tasks + 1, bytes: usage.bytes + file.byteLength }
        setUsage(records, operator, usage)
      })
    return new TaskStore(store)
  }

  /** Number of tasks of all owners. */
  get count(): number {
    return this.store.count('versions')
  }

  countOf(owner: Owner): number {
    return usageOf(this.store, owner).tasks
  }

  /**
   * Rejects a file that would exceed the quotas of the owner, before it is read.
   * @param id of the task; undefined if it is not known yet
   * @throws Problem `quota_exceeded`, `unknown_tenant`
   */
  checkRoom(owner: TaskOwner, id: string | undefined, bytes: number): void {
    const limits = limitsOf(this.store, owner)
    if (limits.tasks === null && limits.bytes === null) return
    const name = ownerOf(owner)
    // Without an id it could replace any file: only one larger than the whole quota is certain to exceed it.
    const before = id === undefined ? usageOf(this.store, name).bytes : this.file(name, id)?.byteLength
    usageAfter(this.store, name, limits, { tasks: before === undefined ? 1 : 0, bytes: bytes - (before ?? 0) })
  }

  /**
   * Stores a file, or replaces one. Resolves once the file is stored durably.
   * @returns the version that it replaced
   * @throws Problem `unknown_tenant` if the owner was deleted, even if another tenant has its id; `quota_exceeded`; those of
   *   the precondition
   */
  async put(
    by: TaskOwner,
    id: string,
    digest: string,
    file: Uint8Array,
    precondition: Precondition,
  ): Promise<string | undefined> {
    const owner = ownerOf(by)
    const key = taskKey(owner, id)
    const put = (records: StoreWriter) => {
      const limits = limitsOf(records, by)
      const current = records.get('versions', key)?.toString()
      precondition(current)
      const bytes = file.byteLength - (records.get('files', key)?.byteLength ?? 0)
      charge(records, owner, limits, { tasks: current === undefined ? 1 : 0, bytes })
      records.put('versions', key, Buffer.from(digest))
      records.put('files', key, file)
      return current
    }
    return this.store.change(put, owner)
  }

  /**
   * Deletes a task. Resolves once this is stored durably.
   * @returns the deleted version; undefined if there was none and the precondition allowed that
   * @throws Problem `unknown_tenant` like `put`, those of the precondition
   */
  async delete(by: TaskOwner, id: string, precondition: Precondition): Promise<string | undefined> {
    const owner = ownerOf(by)
    const key = taskKey(owner, id)
    return this.store.change((records) => {
      const limits = limitsOf(records, by)
      const current = records.get('versions', key)?.toString()
      precondition(current)
      if (current === undefined) return undefined
      charge(records, owner, limits, { tasks: -1, bytes: -(records.get('files', key)?.byteLength ?? 0) })
      records.remove('versions', key)
      records.remove('files', key)
      return current
    })
  }

  /**
   * Deletes all tasks of a tenant that is being deleted, in many transactions. Stops if another process has finished the
   * deletion. Yields the number of tasks of each transaction. The usage record stays, for the audit trail.
   */
  async *clear(leaving: TenantIdentity): AsyncIterable<number> {
    const owner = leaving.id
    for (;;) {
      const removed = await this.store.change((records) => {
        const keys = isLeaving(records, leaving)
          ? Array.from(records.range('versions', { ...tasksOf(owner), limit: removedTogether }), ([key]) => key)
          : []
        for (const key of keys) {
          records.remove('versions', key)
          records.remove('files', key)
        }
        return keys.length
      })
      yield removed
      if (removed < removedTogether) return
    }
  }
}
