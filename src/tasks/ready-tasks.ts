// Tasks that are ready to run, each with an effective bitset and a head. Memory of tasks in use is bounded for each owner,
// and a cache of recently used tasks is bounded in bytes. Cache keys are digests of files: owners of identical files share
// an entry, and cannot tell who else has the file.

import { LRUCache } from 'lru-cache'
import type { Holding, Pool } from '../costs/pool.js'
import type { SlicedWork } from '../costs/sliced-work.js'
import type { Owner } from '../owner.js'
import { checkTaskFits, effectiveBitset, type ServedModel } from '../petl/combining.js'
import { type TaskFile, taskFileInSteps } from '../petl/task-file.js'
import { finish, type Steps } from '../steps.js'
import { type LabelBytes, labelBytesInSteps } from './prediction-costs.js'

/** A task ready to run. */
export interface Task {
  readonly file: TaskFile
  /** Effective, [planes, layers, ⌈n/8⌉] bytes; zeros for a task without a mask. */
  readonly bitset: Uint8Array
  readonly labelBytes: LabelBytes
  /** Its memory. */
  readonly bytes: number
}

/** A task that a request uses. */
export interface TaskInUse {
  readonly task: Task
  release(): void
}

/** Where to read the file of a task. */
export interface TaskSource {
  readonly digest: string
  readonly read: () => Uint8Array
}

interface Use {
  requests: number
  readonly holding: Holding
  readonly task: Promise<Task>
}

/** Most small files that are read in one turn of the event loop: a request can name hundreds of tasks. */
const mostAtOnce = 8

/** Most tasks whose size is remembered. */
const mostSizes = 10_000

/** Largest file in bytes that is read at once, which takes a fraction of a millisecond. */
const readAtOnce = 32 * 1024

export class ReadyTasks {
  readonly #cache: LRUCache<string, Task>
  /** Small tasks that were prepared in this turn of the event loop. */
  #preparedAtOnce = 0
  /** Memory of tasks that were prepared before, by digest. */
  readonly #sizes = new LRUCache<string, number>({ max: mostSizes })
  /** By owner and digest. */
  readonly #uses = new Map<string, Use>()

  constructor(
    readonly model: ServedModel,
    readonly work: SlicedWork,
    /** Bounds the bytes of tasks that requests use. */
    readonly inUse: Pool,
    cacheBytes: number,
  ) {
    this.#cache = new LRUCache({ maxSize: cacheBytes, sizeCalculation: ({ bytes }) => bytes })
  }

  /** Size of the cache. */
  get cached(): { readonly bytes: number; readonly tasks: number } {
    return { bytes: this.#cache.calculatedSize, tasks: this.#cache.size }
  }

  /**
   * Whether the file of a task must be read before an owner can use it.
   * @throws Problem `overloaded` if its size is known and there is no memory for it; then the file is not read
   */
  mustRead(owner: Owner, digest: string): boolean {
    if (this.#cache.has(digest) || this.#uses.has(keyOf(owner, digest))) return false
    this.inUse.take(owner, this.#sizes.get(digest) ?? 0).release()
    return true
  }

  /**
   * Gets a task for a request, until it is released. It stays usable even if its file is replaced or deleted.
   * @throws Problem `overloaded` if there is no memory for it; those of an invalid file
   */
  async use(owner: Owner, { digest, read }: TaskSource): Promise<TaskInUse> {
    const key = keyOf(owner, digest)
    const use = this.#uses.get(key) ?? this.#begin(owner, key, digest, read)
    use.requests++
    const release = () => {
      if (--use.requests > 0) return
      use.holding.release()
      if (this.#uses.get(key) === use) this.#uses.delete(key)
    }
    try {
      return { task: await use.task, release: once(release) }
    } catch (error) {
      release()
      throw error
    }
  }

  /**
   * Prepares the task of a file.
   * @param digest of the file, if it is known
   * @throws Problem if the file is not a task of the model
   */
  async make(owner: Owner, bytes: Uint8Array, digest?: string): Promise<Task> {
    const steps = this.#makeInSteps(bytes, digest)
    if (bytes.byteLength > readAtOnce || this.#preparedAtOnce >= mostAtOnce) return this.work.run(owner, steps)
    if (this.#preparedAtOnce++ === 0)
      setImmediate(() => {
        this.#preparedAtOnce = 0
      })
    return finish(steps)
  }

  /** Puts a task into the cache. */
  keep(task: Task): void {
    this.#cache.set(task.file.digest, task)
    this.#sizes.set(task.file.digest, task.bytes)
  }

  #begin(owner: Owner, key: string, digest: string, read: () => Uint8Array): Use {
    const cached = this.#cache.get(digest)
    const use: Use = cached
      ? { requests: 0, holding: this.inUse.take(owner, cached.bytes), task: Promise.resolve(cached) }
      : this.#load(owner, digest, read)
    this.#uses.set(key, use)
    return use
  }

  #load(owner: Owner, digest: string, read: () => Uint8Array): Use {
    // Reading a large file takes milliseconds: check for memory first if the size is known.
    const holding = this.inUse.take(owner, this.#sizes.get(digest) ?? 0)
    const load = async () => {
      const bytes = read()
      holding.add(Math.max(0, bytes.byteLength - holding.bytes))
      const task = await this.make(owner, bytes, digest)
      holding.add(Math.max(0, task.bytes - holding.bytes))
      this.keep(task)
      return task
    }
    return { requests: 0, holding, task: load() }
  }

  *#makeInSteps(bytes: Uint8Array, digest: string | undefined): Steps<Task> {
    const file = yield* taskFileInSteps(bytes, digest)
    checkTaskFits(file, this.model)
    return yield* taskInSteps(file, this.model)
  }
}

const keyOf = (owner: Owner, digest: string): string => `${owner}/${digest}`

/** Prepares a task file that fits the model. */
export function* taskInSteps(file: TaskFile, { prototype }: ServedModel): Steps<Task> {
  const bitset = prototype ? effectiveBitset(file, prototype) : new Uint8Array()
  const labelBytes = yield* labelBytesInSteps(file.labels)
  return { file, bitset, labelBytes, bytes: bytesOf(file, bitset, labelBytes) }
}

function once(action: () => void): () => void {
  let done = false
  return () => {
    if (!done) action()
    done = true
  }
}

/** Bytes of a label without its characters: the string object and its place in the list. */
const stringBytes = 32
/** Bytes of the objects around a task. */
const objectBytes = 1_000
/** Most bytes of a JSON value per byte of its text. */
const jsonFactor = 16

/** Memory of a task, in bytes. */
function bytesOf(file: TaskFile, bitset: Uint8Array, labelBytes: LabelBytes): number {
  const projection = 'projection' in file ? file.projection : undefined
  const linears = [file.head?.output, file.head?.dense, projection].filter((linear) => linear !== undefined)
  const arrays = [
    ...(file.mask ? [bitset, file.mask.bits] : []),
    ...linears.flatMap(({ weight, bias }) => [weight, bias]),
    ...('thresholds' in file && file.thresholds instanceof Float32Array ? [file.thresholds] : []),
  ]
  // Most of them are views of the buffer that holds the task file.
  const buffers = new Set(arrays.map(({ buffer }) => buffer))
  let bytes = objectBytes
  for (const { byteLength } of buffers) bytes += byteLength
  // A string takes one or two bytes per character.
  bytes += 2 * labelBytes.all + stringBytes * file.labels.length
  bytes += 2 * (file.description?.length ?? 0)
  bytes += file.heldOut?.byteLength ?? 0
  // A rule is kept a second time, in the form that divides texts.
  if (file.words) bytes += 2 * jsonFactor * JSON.stringify(file.words).length
  if (file.metrics) bytes += jsonFactor * JSON.stringify(file.metrics).length
  return bytes
}
