// An attempt runs changes on the mirror's state. It records what they read and write, so that the database can make
// them on the condition that nothing of that has changed there since.

import type { Mirror } from './mirror.js'
import type { Position } from './mirror-file.js'
import { Overlay, type Write } from './overlay.js'
import type { PendingChange } from './pending.js'
import { isSmallTable, type RecordRange, type StoreReader, type Table } from './store.js'

/** The keys of a table from `from`, inclusive, to `until`, exclusive. Without `until`, all keys from `from` on. */
export interface Span {
  readonly table: Table
  readonly from: string
  readonly until: string | undefined
}

/** The writes of an attempt. They are made only if no record of the spans has changed since it was read. */
export interface Publication {
  /** The position of the state that was read. */
  readonly from: Position
  /** The number of the change up to which the small tables were read. At least that of `from`. */
  readonly smallAt: number
  readonly spans: readonly Span[]
  readonly writes: readonly Write[]
}

/** Records of the small tables that are newer than the mirror's. */
export interface NewerSmallRecords {
  readonly smallAt: number
  /** All changes of the small tables since the mirror's state. They may include older ones. */
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
    if (position === undefined) throw new Error('there is no mirror to run changes on')
    // This comes before any read. A record that is read later in a newer state counts as changed, and the attempt
    // fails.
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
   * Runs a change after the changes before it.
   * @returns whether the change is part of the attempt. It is not if all changes together would write more than
   *   `maxBytes`. Changes of small tables only are not mixed with others, so that they need not wait for task files
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

/** Records what is read. */
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

/** The first key after another one. */
const following = (key: string): string => `${key}\0`
