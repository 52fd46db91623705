// Decides for each prediction whether its text is kept. It remembers for a second what the store says, because most tasks
// keep nothing, and a prediction must not wait for that.

import { LRUCache } from 'lru-cache'
import type { Owner } from '../owner.js'
import type { StoreReader } from '../store/store.js'
import { taskKey } from '../tasks/task-key.js'
import type { PredictedText, TextCollector } from '../tasks/text-collection.js'
import { readKeeping } from '../tasks/text-keeping.js'
import type { TextBuffer } from './text-buffer.js'

/** For how long an answer of the store is used, in milliseconds. */
const freshMs = 1_000
/** Tasks that are remembered. */
const maxTasks = 10_000

interface Remembered {
  readonly until: number
  readonly collect: ((text: PredictedText) => void) | undefined
}

export class BufferingCollector implements TextCollector {
  readonly #tasks = new LRUCache<string, Remembered>({ max: maxTasks })

  constructor(
    readonly store: Pick<StoreReader, 'get'>,
    readonly buffer: TextBuffer,
    /** The clock, in milliseconds of the epoch. */
    readonly now: () => number = Date.now,
  ) {}

  collects(owner: Owner, task: string): ((text: PredictedText) => void) | undefined {
    const key = taskKey(owner, task)
    const known = this.#tasks.get(key)
    const now = this.now()
    // A clock that was set back must not keep an answer alive.
    if (known !== undefined && now < known.until && now >= known.until - freshMs) return known.collect
    const collect = this.#ask(owner, task, key)
    this.#tasks.set(key, { until: now + freshMs, collect })
    return collect
  }

  /** Asks the store again at the next prediction of a task. */
  forget(owner: Owner, task: string): void {
    this.#tasks.delete(taskKey(owner, task))
  }

  #ask(owner: Owner, task: string, key: string): Remembered['collect'] {
    const incarnation = this.#incarnation(key)
    if (incarnation === undefined) return undefined
    return (text) => this.buffer.add(owner, task, incarnation, { ...text, at: this.now(), seen: 1 })
  }

  /** Undefined also while the store cannot be read: a prediction does not fail for that. */
  #incarnation(key: string): string | undefined {
    try {
      return readKeeping(this.store, key)?.incarnation
    } catch {
      return undefined
    }
  }
}
