// Uploaded task files in the store, and their versions (versions.ts). Each owner has a record of its usage. A task, its
// versions and the usage change in one transaction.

import type { Owner } from '../owner.js'
import { type ReadableStore, recordsIn, type Store, type StoreWriter, type Table } from '../store/store.js'
import { isLeaving, operator, ownerOf, type TaskOwner, type TenantIdentity } from '../tenants/tenant.js'
import { charge, limitsOf, noUsage, setUsage, usageAfter, usageOf } from '../tenants/usage.js'
import { removeDataset } from './datasets.js'
import { removePage } from './record-pages.js'
import { disagreementsKey, taskKey, tasksOf } from './task-key.js'
import { stopKeeping } from './text-keeping.js'
import {
  type ActiveVersion,
  activate,
  addVersion,
  bytesOf,
  deleteVersion,
  digestOfVersion,
  hasHistory,
  type NewVersion,
  parseActive,
  placeOfFile,
  readActive,
  readReport,
  readVersion,
  readVersions,
  removeVersions,
  startTrial,
  type Trial,
  taskExists,
  type VersionChange,
  type VersionRecord,
} from './versions.js'

export interface StoredTask {
  readonly id: string
  /** SHA-256 of the file of the active version. */
  readonly digest: string
}

/** What is known of an uploaded file besides its contents. */
export type UploadDetails = Partial<Omit<NewVersion, 'digest' | 'file' | 'source'>>

/** Checks the current version, undefined if there is none. Throws a Problem if it is not the expected one. */
export type Precondition = (current: string | undefined) => void

/** Most records that one transaction of a deletion reads, so that other requests are served in between. */
const removedTogether = 500

/** How many versions of a task are kept, unless a setting says otherwise. */
export const defaultVersionsKept = 10

/** Reads tasks from a store. */
export class TaskReader<S extends ReadableStore = ReadableStore> {
  constructor(readonly store: S) {}

  /** The active version of a task, and its candidate. */
  active(owner: Owner, id: string): ActiveVersion | undefined {
    return readActive(this.store, taskKey(owner, id))
  }

  /** Digest of the active version. */
  digest(owner: Owner, id: string): string | undefined {
    return this.active(owner, id)?.digest
  }

  /** Whether there is a task with versions or examples. */
  exists(owner: Owner, id: string): boolean {
    return taskExists(this.store, taskKey(owner, id))
  }

  /** Whether there is a record of each version. Tasks that earlier versions of this program stored have none. */
  hasHistory(owner: Owner, id: string): boolean {
    return hasHistory(this.store, taskKey(owner, id))
  }

  /** Digest of a version. */
  digestOf(owner: Owner, id: string, number: number): string | undefined {
    return digestOfVersion(this.store, taskKey(owner, id), number)
  }

  /** Whether the task has no active version, but examples or other versions. */
  isDraft(owner: Owner, id: string): boolean {
    return this.digest(owner, id) === undefined && taskExists(this.store, taskKey(owner, id))
  }

  /** The file of the active version, or of another one. */
  file(owner: Owner, id: string, digest?: string): Uint8Array | undefined {
    return this.store.get(...this.#place(owner, id, digest))
  }

  /** Reads the file of a version from disk into memory, on another thread. */
  prefetch(owner: Owner, id: string, digest?: string): Promise<void> {
    return this.store.prefetch(...this.#place(owner, id, digest))
  }

  /** The versions of a task, oldest first. */
  versions(owner: Owner, id: string): readonly VersionRecord[] {
    return readVersions(this.store, taskKey(owner, id))
  }

  version(owner: Owner, id: string, number: number): VersionRecord | undefined {
    return readVersion(this.store, taskKey(owner, id), number)
  }

  /** The JSON text of the report of a version's training. */
  report(owner: Owner, id: string, number: number): Buffer | undefined {
    return readReport(this.store, taskKey(owner, id), number)
  }

  /** Lists up to `limit` tasks of an owner with ids after `after`, in the order of their ids. */
  list(owner: Owner, after: string, limit: number): StoredTask[] {
    const records = this.store.range('versions', { ...tasksOf(owner, after), limit })
    const prefix = taskKey(owner, '').length
    return Array.from(records, ([key, record]) => ({ id: key.slice(prefix), digest: parseActive(record).digest }))
  }

  /** Lists up to `limit` ids of an owner's tasks that have examples and no active version, from `after` to before `before`. */
  drafts(owner: Owner, after: string, limit: number, before?: string): string[] {
    const range = tasksOf(owner, after)
    const prefix = taskKey(owner, '').length
    const found: string[] = []
    for (const [key] of this.store.range('datasets', {
      ...range,
      ...(before !== undefined && { before: taskKey(owner, before) }),
    })) {
      const id = key.slice(prefix)
      if (this.digest(owner, id) === undefined) found.push(id)
      if (found.length === limit) break
    }
    return found
  }

  #place(owner: Owner, id: string, digest: string | undefined) {
    const key = taskKey(owner, id)
    return digest === undefined ? (['files', key] as const) : placeOfFile(this.store, key, digest)
  }
}

export class TaskStore extends TaskReader<Store> {
  private constructor(
    store: Store,
    /** How many versions of a task are kept. */
    readonly versionsKept: number,
  ) {
    super(store)
  }

  /** Counts the usage of the operator if an older version of the program wrote the store, without this record. */
  static async open(store: Store, versionsKept = defaultVersionsKept): Promise<TaskStore> {
    if (store.get('usage', operator) === undefined)
      await store.change((records) => {
        let [tasks, bytes] = [0, 0]
        for (const [, file] of records.range('files', tasksOf(operator))) {
          tasks++
          bytes += file.byteLength
        }
        setUsage(records, operator, { ...noUsage, tasks, bytes })
      })
    return new TaskStore(store, versionsKept)
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
    const before =
      id === undefined
        ? { tasks: 1, bytes: usageOf(this.store, name).bytes }
        : { tasks: taskExists(this.store, taskKey(name, id)) ? 1 : 0, bytes: this.#bytesOfVersions(name, id) }
    usageAfter(this.store, name, limits, { tasks: 1 - before.tasks, bytes: bytes - before.bytes })
  }

  /**
   * Stores a file as a version, and makes it the active one. Resolves once the file is stored durably.
   * @returns the version that was active before
   * @throws Problem `unknown_tenant` if the owner was deleted, even if another tenant has its id; `quota_exceeded`; those of
   *   the precondition
   */
  async put(
    by: TaskOwner,
    id: string,
    digest: string,
    file: Uint8Array,
    precondition: Precondition,
    details: UploadDetails = {},
  ): Promise<string | undefined> {
    const version: NewVersion = { by: ownerOf(by), ...details, source: { kind: 'upload' }, digest, file }
    return this.#change(by, id, precondition, (records, current) => {
      addVersion(records, by, id, version, { activate: true, keep: this.versionsKept })
      return current
    })
  }

  /**
   * Makes a version the active one, and ends the trial of a candidate.
   * @throws Problem `unknown_version`, `unknown_tenant`, those of the precondition
   */
  async activate(by: TaskOwner, id: string, number: number, precondition: Precondition): Promise<VersionChange> {
    return this.#change(by, id, precondition, (records) => activate(records, by, id, number))
  }

  /**
   * Makes a version the candidate. The active version as the candidate ends the trial of the present one.
   * @throws Problem `unknown_version`, `no_version`, `unknown_tenant`, those of the precondition
   */
  async startTrial(by: TaskOwner, id: string, number: number, trial: Trial, precondition: Precondition) {
    return this.#change(by, id, precondition, (records) => startTrial(records, by, id, number, trial))
  }

  /** @throws Problem `unknown_version`, `version_in_use`, `unknown_tenant`, those of the precondition */
  async deleteVersion(by: TaskOwner, id: string, number: number, precondition: Precondition): Promise<VersionRecord> {
    return this.#change(by, id, precondition, (records) => deleteVersion(records, by, id, number))
  }

  /**
   * Deletes a task with all its versions. Resolves once this is stored durably.
   * @returns the active version; undefined if there was none and the precondition allowed that
   * @throws Problem `unknown_tenant` like `put`, those of the precondition
   */
  async delete(by: TaskOwner, id: string, precondition: Precondition): Promise<string | undefined> {
    const owner = ownerOf(by)
    const key = taskKey(owner, id)
    return this.#change(by, id, precondition, (records, current) => {
      if (!taskExists(records, key)) return undefined
      const { bytes = 0, examples = 0 } = removeDataset(records, owner, id)
      const removed = removeVersions(records, key) + stopKeeping(records, key)
      records.remove('jobs', disagreementsKey(owner, id))
      charge(records, owner, limitsOf(records, by), { tasks: -1, bytes: bytes - removed, examples })
      return current
    })
  }

  /**
   * Deletes all tasks, examples and jobs of a tenant that is being deleted, in many transactions. Stops if another process
   * has finished the deletion. Yields the number of tasks of each transaction. The usage record stays, for the audit trail.
   */
  async *clear(leaving: TenantIdentity): AsyncIterable<number> {
    const owner = leaving.id
    for (;;) {
      const { removed, isLast } = await this.store.change((records) => {
        if (!isLeaving(records, leaving)) return { removed: 0, isLast: true }
        const keys = Array.from(
          records.range('versions', { ...tasksOf(owner), limit: removedTogether }),
          ([key]) => key,
        )
        for (const key of keys) {
          records.remove('versions', key)
          records.remove('files', key)
        }
        const isLast =
          keys.length < removedTogether &&
          tablesOfTasks.every((table) => removePage(records, table, tasksOf(owner))) &&
          tablesOfJobs.every((table) => removePage(records, table, recordsIn(owner)))
        return { removed: keys.length, isLast }
      })
      yield removed
      if (isLast) return
    }
  }

  #bytesOfVersions(owner: Owner, id: string): number {
    return this.versions(owner, id).reduce((sum, version) => sum + bytesOf(version), 0)
  }

  /** Changes a task whose owner still exists. */
  #change<T>(
    by: TaskOwner,
    id: string,
    precondition: Precondition,
    change: (records: StoreWriter, current: string | undefined) => T,
  ): Promise<T> {
    const owner = ownerOf(by)
    return this.store.change((records) => {
      limitsOf(records, by)
      const current = readActive(records, taskKey(owner, id))?.digest
      precondition(current)
      return change(records, current)
    }, owner)
  }
}

/** Tables with keys that begin with that of a task, apart from the tasks themselves. */
const tablesOfTasks: readonly Table[] = ['history', 'kept', 'reports', 'datasets', 'examples', 'removals', 'recent']
const tablesOfJobs: readonly Table[] = ['jobs', 'unfinished']
