// Uploaded task files, in the store: of each task its file and the file's digest, and of each owner what it has stored,
// changed together.

import type { Owner } from '../owner.js'
import { type RecordRange, recordsIn, type Store, type StoreWriter } from '../store/store.js'
import { isLeaving, operator, ownerOf, type TaskOwner, type TenantIdentity } from '../tenants/tenant.js'
import { charge, limitsOf, setUsage, type Usage, usageAfter, usageOf } from '../tenants/usage.js'

export interface StoredTask {
  readonly id: string
  /** SHA-256 of the file. */
  readonly digest: string
}

/** Looks at the version that is there, undefined for none, and throws if it is not the one that was expected. */
export type Precondition = (current: string | undefined) => void

/** Tasks that are removed in one transaction of a removal: requests are answered in between. */
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

  /** Brings a task's file from the disk into memory, on another thread. */
  prefetch(owner: Owner, id: string): Promise<void> {
    return this.store.prefetch('files', recordKey(owner, id))
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
   * Refuses a file that the owner's quotas have no room for, before it is read.
   * @param id of the task that it replaces or makes; undefined while that is not known
   * @throws Problem `quota_exceeded`, `unknown_tenant`
   */
  checkRoom(owner: TaskOwner, id: string | undefined, bytes: number): void {
    const limits = limitsOf(this.store, owner)
    if (limits.tasks === null && limits.bytes === null) return
    const name = ownerOf(owner)
    // A file without an id yet may replace any other: for certain it has no room if it is larger than the whole quota.
    const before = id === undefined ? usageOf(this.store, name).bytes : this.file(name, id)?.byteLength
    usageAfter(this.store, name, limits, { tasks: before === undefined ? 1 : 0, bytes: bytes - (before ?? 0) })
  }

  /**
   * Stores a file under an id, in place of what was there; resolves once it would survive a power cut.
   * @returns the version that it replaced
   * @throws Problem `unknown_tenant` if the owner is gone, even if another tenant has its id; `quota_exceeded`; whatever
   *   the precondition throws
   */
  async put(
    by: TaskOwner,
    id: string,
    digest: string,
    file: Uint8Array,
    precondition: Precondition,
  ): Promise<string | undefined> {
    const owner = ownerOf(by)
    const key = recordKey(owner, id)
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
   * Removes a task; resolves once that would survive a power cut.
   * @returns the version that it removed, undefined where the precondition let none be removed
   * @throws Problem `unknown_tenant` as `put`, whatever the precondition throws
   */
  async delete(by: TaskOwner, id: string, precondition: Precondition): Promise<string | undefined> {
    const owner = ownerOf(by)
    const key = recordKey(owner, id)
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
   * Removes all tasks of a tenant that is leaving, in many transactions, and stops if another removal has finished. Yields
   * how many tasks each transaction removed. The usage counters stay, for the audit trail.
   */
  async *clear(leaving: TenantIdentity): AsyncIterable<number> {
    const owner = leaving.id
    for (;;) {
      const removed = await this.store.change((records) => {
        const keys = isLeaving(records, leaving)
          ? Array.from(records.range('versions', { ...rangeOf(owner), limit: removedTogether }), ([key]) => key)
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

/** The operator's tasks lie under their bare ids, before all others: "~" sorts behind every character of an id. */
const recordKey = (owner: Owner, id: string): string => (owner === operator ? id : `~${owner}/${id}`)

const rangeOf = (owner: Owner, after = ''): RecordRange =>
  owner === operator ? { after, before: '~' } : recordsIn(`~${owner}`, after)
