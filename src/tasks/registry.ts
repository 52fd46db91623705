// The tasks that are served: read-only files of a directory for everybody, and uploads in the store for their owners. A
// task in use is an effective bitset and a head in a cache bounded in bytes; one that is not is only a file. The cache
// goes by the file's digest, so that owners of one file share what is made of it, and nobody sees whose else it is.

import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { LRUCache } from 'lru-cache'
import { readFileAs } from '../formats/file.js'
import { readTaskFile, type TaskFile } from '../formats/task-file.js'
import { checkFits, effectiveBitset } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import { Problem, quoted } from '../problem.js'
import type { Owner } from '../tenants/tenant.js'
import type { Precondition, StoredTask, TaskStore } from './store.js'

export const taskIdPattern = '^[a-z0-9][a-z0-9._-]{0,63}$'
const taskId = new RegExp(taskIdPattern)
const extension = '.safetensors'

export type Origin = 'bundled' | 'uploaded'

/** A task ready to run. */
export interface Task {
  readonly file: TaskFile
  /** Effective, [planes, layers, ⌈n/8⌉] bytes. */
  readonly bitset: Uint8Array
}

export interface ListedTask extends StoredTask {
  readonly origin: Origin
}

export interface RegistryOptions {
  /** Bound of the cache of tasks in use, in bytes. */
  readonly cacheBytes: number
}

export class Registry {
  readonly #cache: LRUCache<string, Task>

  private constructor(
    readonly prototype: Prototype,
    readonly store: TaskStore,
    /** The directory's files by id, in the order of the ids. */
    readonly bundled: ReadonlyMap<string, { readonly digest: string; readonly bytes: Uint8Array }>,
    options: RegistryOptions,
  ) {
    this.#cache = new LRUCache({ maxSize: options.cacheBytes, sizeCalculation: taskBytes })
  }

  /**
   * @param masksDir directory of task files; each file's name is its task's id
   * @throws Problem naming the file, if one of them is not a task of this prototype
   */
  static async open(
    prototype: Prototype,
    store: TaskStore,
    masksDir: string,
    options: RegistryOptions,
  ): Promise<Registry> {
    const names = await readdir(masksDir).catch((error: Error) => {
      throw new Problem('invalid_setting', `the masks directory ${masksDir} cannot be read: ${error.message}`)
    })
    const bundled = new Map<string, { digest: string; bytes: Uint8Array }>()
    for (const name of names.filter((name) => name.endsWith(extension)).sort()) {
      const path = join(masksDir, name)
      const entry = await readFileAs(path, 'unreadable_file', (bytes) => {
        const file = readTaskFile(bytes)
        checkFits(file, prototype)
        return { id: checkTaskId(name.slice(0, -extension.length)), digest: file.digest, bytes }
      })
      bundled.set(entry.id, entry)
    }
    return new Registry(prototype, store, bundled, options)
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

  /** Bytes that the cache of tasks in use holds, and its entries. */
  get cached(): { readonly bytes: number; readonly tasks: number } {
    return { bytes: this.#cache.calculatedSize, tasks: this.#cache.size }
  }

  /**
   * The current version of a task of an owner. It stays usable whatever happens to the task afterwards.
   * @throws Problem `invalid_task_id`; `unknown_task`, whether or not another owner has such a task;
   *   `prototype_mismatch` for an upload from before a new prototype
   */
  get(owner: Owner, id: string): Task {
    const digest = this.#digest(owner, id)
    const cached = digest === undefined ? undefined : this.#cache.get(digest)
    if (cached) return cached
    const task = this.#load(this.file(owner, id), digest)
    this.#cache.set(task.file.digest, task)
    return task
  }

  /** The task's file as it was uploaded. @throws Problem as `get` */
  file(owner: Owner, id: string): Uint8Array {
    const bytes = this.store.file(owner, checkTaskId(id)) ?? this.bundled.get(id)?.bytes
    if (bytes === undefined) throw new Problem('unknown_task', `there is no task "${id}"`, { task: id })
    return bytes
  }

  origin(owner: Owner, id: string): Origin {
    return this.store.digest(owner, id) === undefined ? 'bundled' : 'uploaded'
  }

  /** Up to `limit` tasks that an owner has whose ids follow `after`, in the order of their ids. */
  list(owner: Owner, after: string, limit: number): ListedTask[] {
    const uploaded = this.store.list(owner, after, limit).map((task): ListedTask => ({ ...task, origin: 'uploaded' }))
    const ids = new Set(uploaded.map(({ id }) => id))
    const bundled = [...this.bundled]
      .filter(([id]) => id > after && !ids.has(id) && this.store.digest(owner, id) === undefined)
      .map(([id, { digest }]): ListedTask => ({ id, digest, origin: 'bundled' }))
    return [...uploaded, ...bundled].sort((a, b) => (a.id < b.id ? -1 : 1)).slice(0, limit)
  }

  /**
   * Registers a task file under an owner's id; resolves once that would survive a power cut, and then serves it.
   * @returns the task, and the version that it replaced
   * @throws Problem for a file that is not a task of this prototype, `task_read_only`, `quota_exceeded`, whatever the
   *   precondition throws
   */
  async put(
    owner: Owner,
    id: string,
    bytes: Uint8Array,
    precondition: Precondition,
  ): Promise<{ task: Task; previous: string | undefined }> {
    this.#checkWritable(owner, id)
    const task = this.#load(bytes)
    const previous = await this.store.put(owner, id, task.file.digest, bytes, precondition)
    this.#cache.set(task.file.digest, task)
    return { task, previous }
  }

  /**
   * @returns the version that was removed
   * @throws Problem `unknown_task`, `task_read_only`, whatever the precondition throws
   */
  async delete(owner: Owner, id: string, precondition: Precondition): Promise<string | undefined> {
    this.#checkWritable(owner, id)
    return this.store.delete(owner, id, (current) => {
      if (current === undefined) throw new Problem('unknown_task', `there is no task "${id}"`, { task: id })
      precondition(current)
    })
  }

  #digest(owner: Owner, id: string): string | undefined {
    return this.store.digest(owner, checkTaskId(id)) ?? this.bundled.get(id)?.digest
  }

  #checkWritable(owner: Owner, id: string): void {
    if (this.bundled.has(checkTaskId(id)) && this.store.digest(owner, id) === undefined)
      throw new Problem('task_read_only', `task "${id}" is a file of the masks directory and cannot be changed here`, {
        task: id,
      })
  }

  /** @param digest of the bytes, where they have been read before */
  #load(bytes: Uint8Array, digest?: string): Task {
    const file = readTaskFile(bytes, digest)
    checkFits(file, this.prototype)
    return { file, bitset: effectiveBitset(file, this.prototype) }
  }
}

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

/** What a task in use costs, in bytes: its buffers and its labels, with a little for the objects around them. */
function taskBytes({ file, bitset }: Task): number {
  const linears = [file.head?.output, file.head?.dense].filter((linear) => linear !== undefined)
  const arrays = [bitset, file.mask.bits, ...linears.flatMap(({ weight, bias }) => [weight, bias])]
  // Most of them are views of the one buffer that holds the task's file.
  const buffers = new Set(arrays.map(({ buffer }) => buffer))
  const labels = file.labels.reduce((sum, label) => sum + 2 * label.length + 16, 0)
  return Array.from(buffers).reduce((sum, { byteLength }) => sum + byteLength, labels + 1_000)
}
