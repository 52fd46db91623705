// Changes that run on the mirror's state, and what has to be true of the database for them to be published: nothing that
// they have read or written was changed there since.

import type { Mirror } from './mirror.js'
import type { Position } from './mirror-file.js'
import { Overlay, type Write } from './overlay.js'
import type { PendingChange } from './pending.js'
import { isSmallTable, type RecordRange, type StoreReader, type Table } from './store.js'

/** Keys of a table, from the first, inclusive, until the last, exclusive. Without a last one, all that follow. */
export interface Span {
  readonly table: Table
  readonly from: string
  readonly until: string | undefined
}

/** What a change comes to, to be published under the condition that no record of the spans has changed. */
export interface Publication {
  /** The state that was read. */
  readonly from: Position
  /** Of the small tables, the number of the change whose state was read; at least that of `from`. */
  readonly smallAt: number
  readonly spans: readonly Span[]
  readonly writes: readonly Write[]
}

/** Small tables in a later state than the mirror has. */
export interface NewerSmallRecords {
  readonly smallAt: number
  /** What was changed in them since the mirror's state, or before. */
  readonly writes: readonly Write[]
}

export class Attempt {
  readonly changes: PendingChange[] = []
  readonly from: Position
  readonly smallAt: number
  readonly #read: ReadLog
  readonly #overlay: Overlay
  #isSmallOnly = true

  constructor(mirror: Mirror, newerSmall?: NewerSmallRecords) {
    const { position } = mirror
    if (position === undefined) throw new Error('there is no copy of the database to change')
    // Before anything is read: a record that is read later in a newer state has changed since, and is found to have.
    this.from = position
    const { smallAt } = mirror
    const isNewer = newerSmall !== undefined && newerSmall.smallAt > smallAt
    this.smallAt = isNewer ? newerSmall.smallAt : smallAt
    const base = new Overlay(mirror)
    if (isNewer) base.write(newerSmall.writes)
    this.#read = new ReadLog(base)
    this.#overlay = new Overlay(this.#read)
  }

  /**
   * Runs a change behind those before it.
   * @returns whether it is part of the attempt: not if all together would write more bytes than `maxBytes`. Changes of
   *   small tables alone are not mixed with others, so that they need not wait for what those wait for
   */
  run(change: PendingChange, maxBytes: number): boolean {
    const read = new ReadLog(this.#overlay)
    const own = new Overlay(read)
    const isToBeWritten = change.run(own)
    const isSmallOnly = [...read.spans, ...own.writes].every(({ table }) => isSmallTable(table))
    if (this.changes.length > 0 && isSmallOnly !== this.#isSmallOnly) return false
    if (isToBeWritten) {
      if (this.#overlay.bytes + own.bytes > maxBytes) return false
      this.#overlay.take(own)
    }
    this.#isSmallOnly = isSmallOnly
    this.changes.push(change)
    return true
  }

  get publication(): Publication {
    const { writes } = this.#overlay
    const written = writes.map(({ table, key }) => spanOf(table, key))
    return { from: this.from, smallAt: this.smallAt, spans: [...this.#read.spans, ...written], writes }
  }
}

/** Remembers what is read. */
class ReadLog implements StoreReader {
  readonly #spans = new Map<string, Span>()

  constructor(readonly base: StoreReader) {}

  get spans(): Span[] {
    return [...this.#spans.values()]
  }

  get(table: Table, key: string): Buffer | undefined {
    this.#remember(spanOf(table, key))
    return this.base.get(table, key)
  }

  range(table: Table, range: RecordRange = {}): Iterable<readonly [string, Buffer]> {
    const { after, before } = range
    this.#remember({ table, from: after === undefined ? '' : following(after), until: before })
    return this.base.range(table, range)
  }

  count(table: Table): number {
    this.#remember({ table, from: '', until: undefined })
    return this.base.count(table)
  }

  #remember(span: Span): void {
    this.#spans.set(JSON.stringify([span.table, span.from, span.until]), span)
  }
}

const spanOf = (table: Table, key: string): Span => ({ table, from: key, until: following(key) })

/** The first key behind another one. */
const following = (key: string): string => `${key}\0`
