// Keeps the least sure texts of recent requests, for the tasks whose owners want that, and suggests which ones to label next.
// The process that owns the store writes what all processes of the server have collected, and deletes what is too old or
// belongs to no keeping.

import { randomBytes } from 'node:crypto'
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { Owner } from '../owner.js'
import { Problem, quoted, reasonOf } from '../problem.js'
import type { Steps } from '../steps.js'
import type { Store, StoreReader, StoreWriter } from '../store/store.js'
import { ownerOfKey, taskKey } from '../tasks/task-key.js'
import { readKeeping, stopKeeping, type TextKeeping, writeKeeping } from '../tasks/text-keeping.js'
import { operator, ownerOf, readTenant, type TaskOwner } from '../tenants/tenant.js'
import { limitsOf, setUsage, usageOf } from '../tenants/usage.js'
import { nearDuplicateKey } from './near-duplicates.js'
import {
  addTexts,
  belongingOf,
  evict,
  expiresBefore,
  hasExpired,
  type KeptText,
  type Place,
  places,
  type Removed,
  readText,
  removeExpired,
  removeOrphans,
  textsOf,
} from './recent-texts.js'
import { type CollectedTexts, TextBuffer } from './text-buffer.js'
import { BufferingCollector } from './text-collector.js'

/** Between two writes of what was collected, in milliseconds. */
const flushEveryMs = 2_000
/** Between two searches for texts to delete, in milliseconds. */
const sweepEveryMs = 60_000
/** Memory of texts that wait to be written, in bytes. */
const bufferBytes = 4 << 20
/** A change takes further tasks until it has this many texts, or characters of them. */
const perChange = { texts: 200, characters: 128 * 1024 }
/** Texts that one change deletes. */
const removedTogether = 100
/** Places that are read in one turn of the event loop. */
const placesAtOnce = 100
/** Texts that are read in one turn of the event loop. */
const textsAtOnce = 8

export interface Suggestion extends KeptText, Pick<Place, 'requestId' | 'index' | 'seen'> {}

/** Whether a text is an example of its task already. */
export type IsExample = (text: KeptText) => boolean

export interface SuggestionsLog {
  warn(details: object, message: string): void
}

export class Suggestions {
  readonly buffer = new TextBuffer(bufferBytes)
  readonly collector: BufferingCollector
  #kept = 0
  #dropped = 0
  #flushing: Promise<void> = Promise.resolve()

  constructor(
    readonly store: Store,
    readonly logger: SuggestionsLog,
    /** The clock, in milliseconds of the epoch. */
    readonly now: () => number = Date.now,
  ) {
    this.collector = new BufferingCollector(store, this.buffer, now)
  }

  /** Texts that were written to the store. */
  get kept(): number {
    return this.#kept
  }

  /** Texts that were dropped: there was no memory for them, no room in the quota, or the store made no changes. */
  get dropped(): number {
    return this.#dropped + this.buffer.dropped
  }

  /** Undefined if no texts of the task are kept. */
  keeping(owner: Owner, id: string): TextKeeping | undefined {
    return readKeeping(this.store, taskKey(owner, id))
  }

  /**
   * Switches the keeping of texts on or off, or changes for how long they are kept. Resolves once that is stored durably.
   * Texts that may no longer be kept are deleted soon after.
   * @param days null switches it off
   * @param check throws a Problem if there is no such task
   * @returns the keeping before and after
   * @throws Problem `unknown_tenant`, those of the check
   */
  async keep(
    by: TaskOwner,
    id: string,
    days: number | null,
    check: (records: StoreWriter) => void,
  ): Promise<{ readonly before: TextKeeping | undefined; readonly after: TextKeeping | undefined }> {
    const owner = ownerOf(by)
    const key = taskKey(owner, id)
    const incarnation = randomBytes(4).toString('hex')
    const result = await this.store.change((records) => {
      limitsOf(records, by)
      check(records)
      const before = readKeeping(records, key)
      if (days !== null) {
        const after = { ...(before ?? { incarnation, texts: 0, bytes: 0 }), days }
        writeKeeping(records, key, after)
        return { before, after }
      }
      addBytes(records, owner, -stopKeeping(records, key))
      return { before, after: undefined }
    }, owner)
    this.collector.forget(owner, id)
    return result
  }

  /**
   * Texts that are worth labelling, the least sure first. Of several that differ only in case, punctuation or spaces, it
   * returns one.
   * @throws Problem `texts_not_kept`
   */
  *suggest(owner: Owner, id: string, limit: number, isExample: IsExample): Steps<Suggestion[]> {
    const key = taskKey(owner, id)
    const keeping = readKeeping(this.store, key)
    if (keeping === undefined) throw textsNotKept(id)
    const all = yield* this.#places(key, keeping)
    all.sort((a, b) => b.uncertainty - a.uncertainty || b.at - a.at)
    const suggestions: Suggestion[] = []
    const contents = new Set<string>()
    for (const [at, { name, requestId, index, seen }] of all.entries()) {
      if (at % textsAtOnce === textsAtOnce - 1) yield
      const text = readText(this.store, key, keeping, name)
      if (text === undefined) continue
      const content = nearDuplicateKey(text)
      if (contents.has(content) || isExample(text)) continue
      contents.add(content)
      suggestions.push({ ...text, requestId, index, seen })
      if (suggestions.length === limit) break
    }
    return suggestions
  }

  /**
   * The kept text of a request.
   * @throws Problem `unknown_request`
   */
  *find(owner: Owner, id: string, requestId: string, index: number): Steps<KeptText> {
    const key = taskKey(owner, id)
    const keeping = readKeeping(this.store, key)
    if (keeping === undefined) throw unknownRequest(id, requestId, index, howToKeep(id))
    const waiting = this.buffer.find(owner, id, keeping.incarnation, requestId, index)
    if (waiting) return waiting
    const all = yield* this.#places(key, keeping)
    const place = all.find((each) => each.requestId === requestId && each.index === index)
    const text = place && readText(this.store, key, keeping, place.name)
    if (text) return text
    const reason = 'only the least sure texts are kept, some seconds after their prediction'
    throw unknownRequest(id, requestId, index, reason)
  }

  /** Takes texts that another process of the server has collected. */
  receive(collected: readonly CollectedTexts[], dropped: number): void {
    this.#dropped += dropped
    for (const { owner, task, incarnation, texts } of collected)
      for (const text of texts) this.buffer.add(owner, task, incarnation, text)
  }

  /** Writes what is collected, and deletes what must not be kept, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const pause = (ms: number) => setTimeout(ms, undefined, { signal, ref: false }).catch(() => {})
    const flush = async () => {
      for (; !signal.aborted; await pause(flushEveryMs)) await this.flush()
    }
    const sweep = async () => {
      for (; !signal.aborted; await pause(sweepEveryMs)) await this.sweep(signal)
    }
    await Promise.all([flush(), sweep()])
  }

  /** Writes what is collected. Resolves once it is stored, or dropped. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.then(() => this.#write())
    return this.#flushing
  }

  async #write(): Promise<void> {
    // They wait in the buffer, which is bounded, and the log does not get a line for every attempt.
    if (this.store.failure !== undefined || this.store.following?.connected === false) return
    for (const group of grouped(this.buffer.take())) {
      const count = group.reduce((sum, { texts }) => sum + texts.length, 0)
      try {
        const { added, rejected, full } = await this.store.change((records) => addGroup(records, group))
        this.#kept += added
        this.#dropped += rejected
        // A change for each task, because it reads the places of all its texts.
        for (const key of full) await this.#remove(key, (records) => evict(records, key, this.now()))
      } catch (error) {
        this.#dropped += count
        this.logger.warn({ texts: count, reason: reasonOf(error) }, 'texts of recent requests could not be kept')
      }
    }
  }

  /** Deletes what is too old, or belongs to no keeping. Errors are logged; the next call tries again. */
  async sweep(signal?: AbortSignal): Promise<void> {
    try {
      for (let after = ''; !signal?.aborted; await setImmediate()) {
        const [first] = this.store.range('recent', { after, limit: 1 })
        if (first === undefined) return
        const [recordKey] = first
        const { key, incarnation } = belongingOf(recordKey)
        const keeping = readKeeping(this.store, key)
        if (incarnation === undefined) {
          if (keeping && hasExpired(keeping, this.now())) await this.#expire(key, signal)
          after = recordKey
        } else {
          const isDone = keeping?.incarnation === incarnation || (await this.#removeOrphans(key, incarnation))
          if (isDone) after = textsOf(key, incarnation).before ?? recordKey
        }
      }
    } catch (error) {
      this.logger.warn(
        { reason: reasonOf(error) },
        'kept texts of requests that are too old cannot be deleted; the server will try again',
      )
    }
  }

  #removeOrphans(key: string, incarnation: string): Promise<boolean> {
    return this.store.change((records) => removeOrphans(records, key, incarnation))
  }

  async #expire(key: string, signal: AbortSignal | undefined): Promise<void> {
    let isMore = true
    while (isMore && !signal?.aborted)
      isMore = await this.#remove(key, (records) => removeExpired(records, key, this.now(), removedTogether))
  }

  /** @returns whether there is more to remove */
  #remove(key: string, remove: (records: StoreWriter) => Removed): Promise<boolean> {
    return this.store.change((records) => {
      const { bytes, isMore } = remove(records)
      addBytes(records, ownerOfKey(key), -bytes)
      return isMore
    })
  }

  /** The places of all texts of a task that may still be kept. */
  *#places(key: string, keeping: TextKeeping): Steps<Place[]> {
    const limit = expiresBefore(keeping, this.now())
    const all: Place[] = []
    for (let after = ''; ; yield) {
      const page = [...places(this.store, key, keeping, { after, limit: placesAtOnce })]
      for (const place of page) if (place.at >= limit) all.push(place)
      const last = page.at(-1)
      if (last === undefined || page.length < placesAtOnce) return all
      after = last.name
    }
  }
}

/** Parts that one change can write. */
function* grouped(collected: readonly CollectedTexts[]): Iterable<readonly CollectedTexts[]> {
  let group: CollectedTexts[] = []
  let [texts, characters] = [0, 0]
  for (const each of collected) {
    group.push(each)
    texts += each.texts.length
    for (const { text, textPair = '' } of each.texts) characters += text.length + textPair.length
    if (texts < perChange.texts && characters < perChange.characters) continue
    yield group
    group = []
    texts = 0
    characters = 0
  }
  if (group.length > 0) yield group
}

function addGroup(
  records: StoreWriter,
  group: readonly CollectedTexts[],
): { readonly added: number; readonly rejected: number; readonly full: readonly string[] } {
  let [added, rejected] = [0, 0]
  const full: string[] = []
  for (const { owner, task, incarnation, texts } of group) {
    const limit = bytesLimitOf(records, owner)
    if (limit === undefined) continue
    const room = limit === null ? Number.POSITIVE_INFINITY : limit - usageOf(records, owner).bytes
    const key = taskKey(owner, task)
    const result = addTexts(records, key, incarnation, texts, room)
    addBytes(records, owner, result.bytes)
    added += result.added
    rejected += result.rejected
    if (result.isFull) full.push(key)
  }
  return { added, rejected, full }
}

/** The owner's quota of bytes: null is unlimited, undefined if the owner is gone. */
const bytesLimitOf = (records: StoreReader, owner: Owner): number | null | undefined =>
  owner === operator ? null : readTenant(records, owner)?.limits.bytes

/** Changes the bytes that an owner uses, if the owner is still there. */
function addBytes(records: StoreWriter, owner: Owner, bytes: number): void {
  if (bytes === 0 || bytesLimitOf(records, owner) === undefined) return
  const usage = usageOf(records, owner)
  setUsage(records, owner, { ...usage, bytes: usage.bytes + bytes })
}

const howToKeep = (id: string): string =>
  `no texts of task "${id}" are kept; switch that on with PUT /tasks/${id}/settings and {"keep_texts": {"days": 7}}`

const textsNotKept = (id: string): Problem => new Problem('texts_not_kept', howToKeep(id), { task: id })

const unknownRequest = (id: string, requestId: string, index: number, reason: string): Problem =>
  new Problem(
    'unknown_request',
    `there is no kept text of request ${quoted(requestId)} at index ${index}: ${reason}. You can send the text itself with its label`,
    { task: id, index },
  )
