// Tasks that are ready to run: an effective bitset and a head each. Those in use are held by requests, and bounded for
// each owner; a cache keeps what was used lately, bounded in bytes. Both count what a task really holds. The cache goes by
// the file's digest: owners of identical files share what is made of them, and nobody sees whose else it is.

import { LRUCache } from 'lru-cache'
import type { Holding, Pool } from '../costs/pool.js'
import type { SlicedWork } from '../costs/sliced-work.js'
import type { Owner } from '../owner.js'
import { checkTaskFitsPrototype, effectiveBitset } from '../petl/combining.js'
import type { Prototype } from '../petl/prototype.js'
import { type TaskFile, taskFileInSteps } from '../petl/task-file.js'
import { finish, type Steps } from '../steps.js'
import { type LabelBytes, labelBytesInSteps } from './prediction-costs.js'

/** A task ready to run. */
export interface Task {
  readonly file: TaskFile
  /** Effective, [planes, layers, ⌈n/8⌉] bytes. */
  readonly bitset: Uint8Array
  readonly labelBytes: LabelBytes
  /** What it holds in memory. */
  readonly bytes: number
}

/** A task that a request uses. */
export interface TaskInUse {
  readonly task: Task
  release(): void
}

/** Where a task's file is. */
export interface TaskSource {
  readonly digest: string
  readonly read: () => Uint8Array
}

interface Use {
  requests: number
  readonly holding: Holding
  readonly task: Promise<Task>
}

/** Small files that are read in one turn of the event loop; a request may name hundreds. */
const mostAtOnce = 8

/** Tasks whose size is remembered. */
const mostSizes = 10_000

/** A file up to this size is read at once, in bytes: it takes a fraction of a millisecond. */
const readAtOnce = 32 * 1024

export class ReadyTasks {
  readonly #cache: LRUCache<string, Task>
  /** Small tasks that were made in this turn of the event loop. */
  #madeAtOnce = 0
  /** What tasks that were made ready once take, by digest. */
  readonly #sizes = new LRUCache<string, number>({ max: mostSizes })
  /** By owner and digest. */
  readonly #uses = new Map<string, Use>()

  constructor(
    readonly prototype: Prototype,
    readonly work: SlicedWork,
    /** Bytes of the tasks that requests use. */
    readonly inUse: Pool,
    cacheBytes: number,
  ) {
    this.#cache = new LRUCache({ maxSize: cacheBytes, sizeCalculation: ({ bytes }) => bytes })
  }

  /** Bytes that the cache holds, and its entries. */
  get cached(): { readonly bytes: number; readonly tasks: number } {
    return { bytes: this.#cache.calculatedSize, tasks: this.#cache.size }
  }

  /**
   * Whether a task has to be read from its file before an owner can use it.
   * @throws Problem `overloaded` if its size is known and tasks in use have no room for it: then it is not read at all
   */
  mustRead(owner: Owner, digest: string): boolean {
    if (this.#cache.has(digest) || this.#uses.has(keyOf(owner, digest))) return false
    this.inUse.take(owner, this.#sizes.get(digest) ?? 0).release()
    return true
  }

  /**
   * A task, for as long as a request uses it. It stays usable whatever happens to its file meanwhile.
   * @throws Problem `overloaded` if tasks in use have no room for it; whatever is wrong with the file
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
   * Makes a task of a file.
   * @param digest of the file, if it is known
   * @throws Problem for a file that is not a task of the prototype
   */
  async make(owner: Owner, bytes: Uint8Array, digest?: string): Promise<Task> {
    const steps = this.#makeInSteps(bytes, digest)
    if (bytes.byteLength > readAtOnce || this.#madeAtOnce >= mostAtOnce) return this.work.run(owner, steps)
    if (this.#madeAtOnce++ === 0)
      setImmediate(() => {
        this.#madeAtOnce = 0
      })
    return finish(steps)
  }

  /** Keeps a task for those who ask next. */
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
    // To read a large file takes milliseconds: nothing is read that there is no room for, once its size is known.
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
    checkTaskFitsPrototype(file, this.prototype)
    return yield* taskInSteps(file, this.prototype)
  }
}

const keyOf = (owner: Owner, digest: string): string => `${owner}/${digest}`

/** Makes a task file that fits the prototype ready to run. */
export function* taskInSteps(file: TaskFile, prototype: Prototype): Steps<Task> {
  const bitset = effectiveBitset(file, prototype)
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

/** Of a label, beside its characters: the string's own fields, and its place in the list. */
const stringBytes = 32
/** Of the objects around a task. */
const objectBytes = 1_000
/** A JSON value takes up to so many times the bytes of its text. */
const jsonFactor = 16

/** What a task holds in memory, in bytes. */
function bytesOf(file: TaskFile, bitset: Uint8Array, labelBytes: LabelBytes): number {
  const linears = [file.head?.output, file.head?.dense].filter((linear) => linear !== undefined)
  const arrays = [bitset, file.mask.bits, ...linears.flatMap(({ weight, bias }) => [weight, bias])]
  // Most of them are views of the one buffer that holds the task's file.
  const buffers = new Set(arrays.map(({ buffer }) => buffer))
  let bytes = objectBytes
  for (const { byteLength } of buffers) bytes += byteLength
  // A string takes one or two bytes for a character.
  bytes += 2 * labelBytes.all + stringBytes * file.labels.length
  bytes += 2 * (file.description?.length ?? 0)
  if (file.metrics) bytes += jsonFactor * JSON.stringify(file.metrics).length
  return bytes
}
