// The tasks that are served: read-only files of a directory for everybody, and uploads in the store for their owners. A
// task that nobody uses is only a file; ready-tasks.ts makes it ready to run.

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readFileAs } from '../formats/file.js'
import type { Owner } from '../owner.js'
import { checkTaskFitsPrototype } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import { readTaskFile } from '../petl/task-file.js'
import { Problem, quoted } from '../problem.js'
import type { Steps } from '../steps.js'
import { ownerOf, type TaskOwner } from '../tenants/tenant.js'
import type { ReadyTasks, Task, TaskInUse } from './ready-tasks.js'
import type { Precondition, StoredTask, TaskStore } from './store.js'

export const taskIdPattern = '^[a-z0-9][a-z0-9._-]{0,63}$'
const taskId = new RegExp(taskIdPattern)
const extension = '.safetensors'

export type Origin = 'bundled' | 'uploaded'

export interface ListedTask extends StoredTask {
  readonly origin: Origin
}

/** Tasks that are listed between two pauses. */
const listedAtOnce = 50

export class Registry {
  private constructor(
    readonly ready: ReadyTasks,
    readonly store: TaskStore,
    /** The directory's files by id, in the order of the ids. */
    readonly bundled: ReadonlyMap<string, { readonly digest: string; readonly bytes: Uint8Array }>,
  ) {}

  /**
   * @param masksDir directory of task files; each file's name is its task's id
   * @throws Problem naming the file, if one of them is not a task of this prototype
   */
  static async open(ready: ReadyTasks, store: TaskStore, masksDir: string): Promise<Registry> {
    const names = await readdir(masksDir).catch((error: Error) => {
      throw new Problem('invalid_setting', `the masks directory ${masksDir} cannot be read: ${error.message}`)
    })
    const bundled = new Map<string, { digest: string; bytes: Uint8Array }>()
    for (const name of names.filter((name) => name.endsWith(extension)).sort()) {
      const path = join(masksDir, name)
      const entry = await readFileAs(path, 'unreadable_file', (bytes) => {
        const file = readTaskFile(bytes)
        checkTaskFitsPrototype(file, ready.prototype)
        return { id: checkTaskId(name.slice(0, -extension.length)), digest: file.digest, bytes }
      })
      bundled.set(entry.id, entry)
    }
    return new Registry(ready, store, bundled)
  }

  get prototype(): Prototype {
    return this.ready.prototype
  }

  /** Bundled files whose id an upload of the owner had taken before: the upload is served. */
  shadowed(owner: Owner): string[] {
    return [...this.bundled.keys()].filter((id) => this.store.digest(owner, id) !== undefined)
  }

  /** Tasks of everybody. */
  get count(): number {
    return this.bundled.size + this.store.count
  }

  /** Tasks that an owner has: its own, and the bundled ones. */
  countOf(owner: Owner): number {
    return this.bundled.size + this.store.countOf(owner) - this.shadowed(owner).length
  }

  /**
   * The current version of a task of an owner, for as long as a request uses it.
   * @throws Problem `invalid_task_id`; `unknown_task`, whether or not another owner has such a task; `prototype_mismatch`
   *   for an upload from before a new prototype; `overloaded` if tasks in use have no room for it
   */
  async use(owner: Owner, id: string): Promise<TaskInUse> {
    if (this.ready.mustRead(owner, this.version(owner, id))) await this.store.prefetch(owner, id)
    // It may have been replaced meanwhile.
    const digest = this.version(owner, id)
    return this.ready.use(owner, { digest, read: () => this.file(owner, id) })
  }

  /** Digest of the current version. @throws Problem `invalid_task_id`, `unknown_task` */
  version(owner: Owner, id: string): string {
    const digest = this.store.digest(owner, checkTaskId(id)) ?? this.bundled.get(id)?.digest
    if (digest === undefined) throw unknownTask(id)
    return digest
  }

  /** The task's file as it was uploaded. @throws Problem `invalid_task_id`, `unknown_task` */
  file(owner: Owner, id: string): Uint8Array {
    const bytes = this.store.file(owner, checkTaskId(id)) ?? this.bundled.get(id)?.bytes
    if (bytes === undefined) throw unknownTask(id)
    return bytes
  }

  origin(owner: Owner, id: string): Origin {
    return this.store.digest(owner, id) === undefined ? 'bundled' : 'uploaded'
  }

  /** Up to `limit` tasks that an owner has whose ids follow `after`, in the order of their ids. */
  *list(owner: Owner, after: string, limit: number): Steps<ListedTask[]> {
    const listed: ListedTask[] = []
    while (listed.length < limit) {
      const most = Math.min(limit - listed.length, listedAtOnce)
      const some = this.#listAtOnce(owner, listed.at(-1)?.id ?? after, most)
      listed.push(...some)
      if (some.length < most) break
      yield
    }
    return listed
  }

  #listAtOnce(owner: Owner, after: string, limit: number): ListedTask[] {
    const uploaded = this.store.list(owner, after, limit).map((task): ListedTask => ({ ...task, origin: 'uploaded' }))
    const bundled: ListedTask[] = []
    for (const [id, { digest }] of this.bundled) {
      if (bundled.length === limit) break
      if (id > after && this.store.digest(owner, id) === undefined) bundled.push({ id, digest, origin: 'bundled' })
    }
    return [...uploaded, ...bundled].sort((a, b) => (a.id < b.id ? -1 : 1)).slice(0, limit)
  }

  /**
   * Registers a task file under an owner's id; resolves once that would survive a power cut, and then serves it.
   * @returns the task, and the version that it replaced
   * @throws Problem for a file that is not a task of this prototype, `task_read_only`, `unknown_tenant`, `quota_exceeded`,
   *   whatever the precondition throws
   */
  async put(
    owner: TaskOwner,
    id: string,
    bytes: Uint8Array,
    precondition: Precondition,
  ): Promise<{ task: Task; previous: string | undefined }> {
    this.#checkWritable(ownerOf(owner), id)
    const task = await this.ready.make(ownerOf(owner), bytes)
    const previous = await this.store.put(owner, id, task.file.digest, bytes, precondition)
    this.ready.keep(task)
    return { task, previous }
  }

  /**
   * @returns the version that was removed
   * @throws Problem `unknown_task`, `task_read_only`, `unknown_tenant`, whatever the precondition throws
   */
  async delete(owner: TaskOwner, id: string, precondition: Precondition): Promise<string | undefined> {
    this.#checkWritable(ownerOf(owner), id)
    return this.store.delete(owner, id, (current) => {
      if (current === undefined) throw unknownTask(id)
      precondition(current)
    })
  }

  #checkWritable(owner: Owner, id: string): void {
    if (this.bundled.has(checkTaskId(id)) && this.store.digest(owner, id) === undefined)
      throw new Problem('task_read_only', `task "${id}" is a file of the masks directory and cannot be changed here`, {
        task: id,
      })
  }
}

const unknownTask = (id: string): Problem => new Problem('unknown_task', `there is no task "${id}"`, { task: id })

/** @throws Problem `invalid_task_id` */
export function checkTaskId(id: string): string {
  if (taskId.test(id)) return id
  throw invalidTaskId(id)
}

export const invalidTaskId = (id: string): Problem =>
  new Problem(
    'invalid_task_id',
    `${quoted(id)} is not a task id; expected 1 to 64 of a-z, 0-9, ".", "_" and "-", beginning with a letter or digit`,
  )
