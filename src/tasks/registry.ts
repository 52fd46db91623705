// The tasks of the server: bundled ones, which are read-only files of a directory that all callers share, and uploads in the
// store, which only their owner sees. ready-tasks.ts prepares a task when a request uses it.

import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { readFileAs } from '../formats/file.js'
import type { Owner } from '../owner.js'
import { checkTaskFits, type ServedModel, wasTrainedOn } from '../petl/combining.js'
import { readTaskFile, type TaskFile } from '../petl/task-file.js'
import { Problem, quoted } from '../problem.js'
import type { Steps } from '../steps.js'
import type { StoreReader } from '../store/store.js'
import { ownerOf, type TaskOwner } from '../tenants/tenant.js'
import { readDataset } from './datasets.js'
import { nearestId } from './near-ids.js'
import type { ReadyTasks, Task, TaskInUse } from './ready-tasks.js'
import type { Precondition, TaskReader, TaskStore, UploadDetails } from './store.js'
import { taskKey } from './task-key.js'
import {
  type ActiveVersion,
  type Trial,
  taskExists,
  unknownVersion,
  type VersionChange,
  type VersionChoice,
  type VersionRecord,
  type VersionSource,
} from './versions.js'

export const taskIdPattern = '^[a-z0-9][a-z0-9._-]{0,63}$'
const taskId = new RegExp(taskIdPattern)
const extension = '.safetensors'

export type Origin = 'bundled' | 'uploaded'

export interface ListedTask {
  readonly id: string
  /** Of the active version; null for a draft. */
  readonly digest: string | null
  /** `draft`: it has examples and no active version. */
  readonly origin: Origin | 'draft'
  readonly examples: number
}

/** What decides which version of a task a request uses. */
export interface UseOptions {
  readonly version?: VersionChoice | undefined
  /** The first text of the request for the task. It decides whether a candidate gets the request. */
  readonly text?: string | undefined
}

/** The version of a task that a request uses, and the digest of a candidate to compare it with. */
interface ChosenVersion {
  readonly digest: string
  readonly shadow?: string
}

export interface ListedVersion extends Omit<VersionRecord, 'source'> {
  readonly source: VersionSource | { readonly kind: 'bundled' }
}

export interface TaskVersions {
  /** Undefined if no version is active. */
  readonly active: ActiveVersion | undefined
  /** Oldest first. */
  readonly versions: readonly ListedVersion[]
}

const ofBundled = { number: 1, created: null, by: null, source: { kind: 'bundled' } } as const

export interface UsedVersion extends TaskInUse {
  readonly shadow?: string | undefined
}

export interface TaskPage {
  readonly tasks: readonly ListedTask[]
  /** The last id that was looked at, if there may be more tasks. */
  readonly next: string | null
}

/** Most ids that a search looks at before it returns what it has found. */
const mostSearched = 10_000

/** Most uploaded tasks that are compared with a misspelt id. */
const mostSuggested = 50

/** Tasks of a list between two pauses. */
const listedAtOnce = 25

/** The bundled files by id, in the order of the ids. */
export type BundledTasks = ReadonlyMap<string, { readonly digest: string; readonly bytes: Uint8Array }>

/** Finds the tasks that requests use. */
export class ServedTasks<S extends TaskReader = TaskReader> {
  constructor(
    readonly ready: ReadyTasks,
    readonly store: S,
    readonly bundled: BundledTasks,
  ) {}

  /**
   * Gets a version of a task for a request, until it is released: the given one, or the active one. A candidate gets its share
   * of the texts instead.
   * @throws Problem `invalid_task_id`; `unknown_task`, even if another owner has such a task; `unknown_version`;
   *   `prototype_mismatch` or `backbone_mismatch` if it was uploaded for another model; `overloaded` if there is no memory for it
   */
  async use(owner: Owner, id: string, options: UseOptions = {}): Promise<UsedVersion> {
    const first = this.#choose(owner, id, options)
    if (this.ready.mustRead(owner, first.digest)) await this.store.prefetch(owner, id, first.digest)
    // The task may have been replaced meanwhile.
    const { digest, shadow } = this.#choose(owner, id, options)
    const { task, release } = await this.ready.use(owner, { digest, read: () => this.file(owner, id, digest) })
    return { task, release, shadow }
  }

  /**
   * Digest of the active version of a task, or of another one.
   * @throws Problem `invalid_task_id`, `unknown_task`, `unknown_version`
   */
  version(owner: Owner, id: string, version?: VersionChoice): string {
    return this.#choose(owner, id, { version }).digest
  }

  /**
   * The file of a version of a task, as it was stored.
   * @throws Problem `invalid_task_id`, `unknown_task`; `unknown_version` if the version was removed
   */
  file(owner: Owner, id: string, digest: string): Uint8Array {
    const bundled = this.bundled.get(id)
    const bytes =
      this.store.file(owner, checkTaskId(id), digest) ?? (bundled?.digest === digest ? bundled.bytes : undefined)
    if (bytes !== undefined) return bytes
    if (!this.store.exists(owner, id)) throw this.unknownTask(owner, id)
    throw new Problem(
      'unknown_version',
      `the version of task "${id}" was removed; GET /tasks/${id}/versions lists the versions`,
      { task: id },
    )
  }

  /** Predictions call it: it reads one record, and more only if the request names a version. */
  #choose(owner: Owner, id: string, { version, text }: UseOptions): ChosenVersion {
    checkTaskId(id)
    if (typeof version === 'object') return version
    if (version !== undefined) return { digest: this.#numbered(owner, id, version) }
    const active = this.store.active(owner, id)
    const digest = active?.digest ?? this.bundled.get(id)?.digest
    if (digest === undefined) throw this.unknownTask(owner, id)
    if (active?.candidate === undefined || text === undefined) return { digest }
    const { candidate } = active
    if (candidate.trial === 'shadow') return { digest, shadow: candidate.digest }
    return { digest: placeOf(text, candidate.digest) < candidate.trial ? candidate.digest : digest }
  }

  /** Digest of the version with a number. A bundled task has only version 1. */
  #numbered(owner: Owner, id: string, number: number): string {
    const bundled = this.bundled.get(id)
    if (this.store.exists(owner, id)) {
      const digest = this.store.digestOf(owner, id, number)
      if (digest === undefined) throw unknownVersion(id, number)
      return digest
    }
    if (bundled === undefined) throw this.unknownTask(owner, id)
    if (number !== 1) throw unknownVersion(id, number)
    return bundled.digest
  }

  /** Suggests only ids that the owner can see. */
  unknownTask(owner: Owner, id: string): Problem {
    if (this.store.isDraft(owner, id))
      return new Problem('no_version', `task "${id}" has examples but no version yet; POST /tasks/${id}/learn`, {
        task: id,
      })
    const start = id.slice(0, 1)
    const bundled = [...this.bundled.keys()].filter((each) => each.startsWith(start))
    const near = nearestId(id, [...bundled, ...this.store.list(owner, start, mostSuggested).map((task) => task.id)])
    const advice = near === undefined ? '' : `did you mean "${near}"? `
    return new Problem('unknown_task', `there is no task "${id}"; ${advice}GET /tasks lists the tasks`, { task: id })
  }
}

/**
 * Reads the bundled task files.
 * @param masksDir directory of task files; the name of a file is the id of its task
 * @param skipsOthers whether tasks of another model are left out, instead of being an error
 * @returns the files, and the number of files that belong to another model
 * @throws Problem with the name of the file that is not a task of the model
 */
export async function readBundled(
  model: ServedModel,
  masksDir: string,
  skipsOthers = false,
): Promise<{ readonly bundled: BundledTasks; readonly skipped: number }> {
  const names = await readdir(masksDir).catch((error: Error) => {
    throw new Problem(
      'invalid_setting',
      `the masks directory ${masksDir} cannot be read: ${error.message}; see --masks-dir`,
    )
  })
  const bundled = new Map<string, { digest: string; bytes: Uint8Array }>()
  let skipped = 0
  for (const name of names.filter((name) => name.endsWith(extension)).sort()) {
    const path = join(masksDir, name)
    const entry = await readFileAs(path, 'unreadable_file', (bytes) => {
      const file = readTaskFile(bytes)
      if (skipsOthers && !wasTrainedOn(file, model)) return undefined
      checkTaskFits(file, model)
      return { id: checkTaskId(name.slice(0, -extension.length)), digest: file.digest, bytes }
    })
    if (entry) bundled.set(entry.id, entry)
    else skipped++
  }
  return { bundled, skipped }
}

export class Registry extends ServedTasks<TaskStore> {
  get model(): ServedModel {
    return this.ready.model
  }

  /** Bundled tasks that are hidden by an upload of the owner with the same id. */
  shadowed(owner: Owner): string[] {
    return [...this.bundled.keys()].filter((id) => this.store.digest(owner, id) !== undefined)
  }

  /** Number of tasks of all owners. */
  get count(): number {
    return this.bundled.size + this.store.count
  }

  /** Number of tasks that an owner sees: its own and the bundled ones. */
  countOf(owner: Owner): number {
    return this.bundled.size + this.store.countOf(owner) - this.shadowed(owner).length
  }

  origin(owner: Owner, id: string): Origin {
    return this.store.digest(owner, id) === undefined ? 'bundled' : 'uploaded'
  }

  /**
   * A page of the tasks and drafts that an owner sees, with ids after `after`, in the order of their ids.
   * @param search only ids that contain this; the page can then have fewer tasks than `limit`
   */
  *page(owner: Owner, after: string, limit: number, search = ''): Steps<TaskPage> {
    const tasks: ListedTask[] = []
    let last = after
    for (let seen = 0; seen < mostSearched; ) {
      const some = this.#listAtOnce(owner, last, listedAtOnce)
      for (const task of some) {
        seen++
        if (task.id.includes(search)) {
          if (tasks.length === limit) return { tasks, next: last }
          const dataset = task.origin === 'bundled' ? undefined : readDataset(this.store.store, owner, task.id)
          tasks.push({ ...task, examples: dataset?.examples ?? 0 })
        }
        last = task.id
      }
      if (some.length < listedAtOnce) return { tasks, next: null }
      yield
    }
    return { tasks, next: last }
  }

  #listAtOnce(owner: Owner, after: string, limit: number): Omit<ListedTask, 'examples'>[] {
    const uploaded = this.store.list(owner, after, limit).map((task) => ({ ...task, origin: 'uploaded' }) as const)
    const before = uploaded.length === limit ? uploaded.at(-1)?.id : undefined
    const drafts = this.store
      .drafts(owner, after, limit, before)
      .flatMap((id) => (this.bundled.has(id) ? [] : [{ id, digest: null, origin: 'draft' } as const]))
    const bundled: Omit<ListedTask, 'examples'>[] = []
    for (const [id, { digest }] of this.bundled) {
      if (bundled.length === limit) break
      if (id > after && this.store.digest(owner, id) === undefined) bundled.push({ id, digest, origin: 'bundled' })
    }
    return [...uploaded, ...drafts, ...bundled].sort((a, b) => (a.id < b.id ? -1 : 1)).slice(0, limit)
  }

  /**
   * Stores a task file as a version and makes it live. Resolves once the file is stored durably.
   * @param actor who makes it, as in the audit trail
   * @returns the task, and the version that it replaced
   * @throws Problem if the file is not a task of this model; `task_read_only`, `unknown_tenant`, `quota_exceeded`; those
   *   of the precondition
   */
  async put(
    owner: TaskOwner,
    id: string,
    bytes: Uint8Array,
    precondition: Precondition,
    actor: string,
  ): Promise<{ task: Task; previous: string | undefined }> {
    this.checkWritable(ownerOf(owner), id)
    const task = await this.ready.make(ownerOf(owner), bytes)
    const details = { by: actor, ...detailsOf(task.file) }
    const previous = await this.store.put(owner, id, task.file.digest, bytes, precondition, details)
    this.ready.keep(task)
    return { task, previous }
  }

  /**
   * The versions of a task, oldest first. A bundled task has one.
   * @throws Problem `invalid_task_id`, `unknown_task`
   */
  async versions(owner: Owner, id: string): Promise<TaskVersions> {
    checkTaskId(id)
    const bundled = this.bundled.get(id)
    if (!this.store.exists(owner, id) && bundled) {
      const { digest, bytes } = bundled
      return { active: { digest }, versions: [{ ...ofBundled, digest, bytes: bytes.byteLength }] }
    }
    // The size of a file without a history is that of its record.
    if (!this.store.hasHistory(owner, id)) await this.store.prefetch(owner, id)
    const versions = this.store.versions(owner, id)
    if (versions.length === 0 && !this.store.exists(owner, id)) throw this.unknownTask(owner, id)
    return { active: this.store.active(owner, id), versions }
  }

  /**
   * Makes a version the active one, if it can be served.
   * @throws Problem `unknown_task`, `unknown_version`, `task_read_only`, `prototype_mismatch`, `backbone_mismatch`,
   *   `unknown_tenant`, those of the precondition
   */
  async activate(by: TaskOwner, id: string, number: number, precondition: Precondition): Promise<VersionChange> {
    await this.#checkServable(ownerOf(by), id, number)
    return this.store.activate(by, id, number, precondition)
  }

  /** Makes a version the candidate, if it can be served. @throws Problem `no_version`, those of `activate` */
  async startTrial(by: TaskOwner, id: string, number: number, trial: Trial, precondition: Precondition) {
    await this.#checkServable(ownerOf(by), id, number)
    return this.store.startTrial(by, id, number, trial, precondition)
  }

  /**
   * @throws Problem `unknown_task`, `unknown_version`, `version_in_use`, `task_read_only`, `unknown_tenant`, those of the
   *   precondition
   */
  async deleteVersion(by: TaskOwner, id: string, number: number, precondition: Precondition): Promise<VersionRecord> {
    this.checkWritable(ownerOf(by), id)
    this.checkVisible(ownerOf(by), id)
    return this.store.deleteVersion(by, id, number, precondition)
  }

  /** The model may have been replaced since the version was stored. */
  async #checkServable(owner: Owner, id: string, version: number): Promise<void> {
    this.checkWritable(owner, id)
    const { release } = await this.use(owner, id, { version })
    release()
  }

  /**
   * @returns the version that was deleted
   * @throws Problem `unknown_task`, `task_read_only`, `unknown_tenant`, those of the precondition
   */
  async delete(owner: TaskOwner, id: string, precondition: Precondition): Promise<string | undefined> {
    this.checkWritable(ownerOf(owner), id)
    return this.store.delete(owner, id, (current) => {
      if (current === undefined && !this.store.isDraft(ownerOf(owner), id)) throw this.unknownTask(ownerOf(owner), id)
      precondition(current)
    })
  }

  /**
   * Checks that an owner sees a task, even if it has no version yet.
   * @param records the store, or a change of it
   * @throws Problem `invalid_task_id`, `unknown_task`
   */
  checkVisible(owner: Owner, id: string, records: StoreReader = this.store.store): void {
    if (!taskExists(records, taskKey(owner, checkTaskId(id))) && !this.bundled.has(id))
      throw this.unknownTask(owner, id)
  }

  /** @throws Problem if the task cannot be trained: `invalid_task_id`, `unknown_task`, `task_read_only` */
  checkLearnable(owner: Owner, id: string): void {
    this.checkWritable(owner, id)
    this.checkVisible(owner, id)
  }

  /** @throws Problem `invalid_task_id`; `task_read_only` for a bundled task */
  checkWritable(owner: Owner, id: string): void {
    if (this.bundled.has(checkTaskId(id)) && this.store.digest(owner, id) === undefined)
      throw new Problem('task_read_only', `task "${id}" is bundled with the server and read-only; choose another id`, {
        task: id,
      })
  }
}

/** What a task file says of its training: `propetl learn` writes the score of the held-out examples first. */
function detailsOf({ problemType, metrics = {} }: TaskFile): UploadDetails {
  const [metric, score] = Object.entries(metrics.dev ?? metrics.cross_validation ?? {})[0] ?? []
  return { problemType, ...(typeof score === 'number' && metric !== undefined && { metric, score }) }
}

/** A number from 0 to 1, evenly distributed over texts, that is the same for the same text and candidate. */
const placeOf = (text: string, candidate: string): number =>
  createHash('sha256').update(candidate).update(text).digest().readUIntBE(0, 6) / 2 ** 48

/** @throws Problem `invalid_task_id` */
export function checkTaskId(id: string): string {
  if (taskId.test(id)) return id
  throw invalidTaskId(id)
}

export function invalidTaskId(id: string): Problem {
  if (id === '') return new Problem('invalid_task_id', 'the task id is empty; GET /tasks lists the tasks')
  const lower = id.trim().toLowerCase()
  const advice = taskId.test(lower) ? `; did you mean "${lower}"?` : ''
  return new Problem(
    'invalid_task_id',
    `${quoted(id)} is not a valid task id; use 1 to 64 of a-z, 0-9, ".", "_" and "-", beginning with a letter or digit${advice}`,
  )
}
