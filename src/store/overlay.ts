// Writes that have not been made yet, on top of the records that they are for. A reader sees both.

import { asBuffer } from './bytes.js'
import { forTables, type RecordRange, type StoreReader, type StoreWriter, type Table, tables } from './store.js'

/** A record to write. Without a value the record is to be removed. */
export interface Write {
  readonly table: Table
  readonly key: string
  readonly value: Buffer | undefined
}

type Values = Map<string, Buffer | undefined>

export class Overlay implements StoreWriter {
  readonly #written = forTables((): Values => new Map())
  #bytes = 0

  constructor(readonly base: StoreReader) {}

  get(table: Table, key: string): Buffer | undefined {
    return this.#written[table].has(key) ? this.#written[table].get(key) : this.base.get(table, key)
  }

  *range(
    table: Table,
    { limit = Number.POSITIVE_INFINITY, ...bounds }: RecordRange = {},
  ): Iterable<readonly [string, Buffer]> {
    const written = this.#written[table]
    const within = (key: string) =>
      (bounds.after === undefined || byBytes(key, bounds.after) > 0) &&
      (bounds.before === undefined || byBytes(key, bounds.before) < 0)
    const own = [...written].filter(([key]) => within(key)).sort(([a], [b]) => byBytes(a, b))
    let left = limit
    for (const [key, value] of merged(own, this.base.range(table, bounds), written)) {
      if (left-- <= 0) return
      yield [key, value]
    }
  }

  count(table: Table): number {
    const there = (value: Buffer | undefined) => (value === undefined ? 0 : 1)
    return Array.from(this.#written[table]).reduce(
      (count, [key, value]) => count + there(value) - there(this.base.get(table, key)),
      this.base.count(table),
    )
  }

  put(table: Table, key: string, value: Uint8Array): void {
    this.#bytes += value.byteLength
    this.#written[table].set(key, asBuffer(value))
  }

  remove(table: Table, key: string): void {
    this.#written[table].set(key, undefined)
  }

  /** Adds the writes of an overlay that lies on top of this one. */
  take(above: Overlay): void {
    this.write(above.writes)
    this.#bytes += above.bytes
  }

  write(writes: readonly Write[]): void {
    for (const { table, key, value } of writes) this.#written[table].set(key, value)
  }

  /** Bytes of all values that were written, including those that were replaced since. */
  get bytes(): number {
    return this.#bytes
  }

  get writes(): Write[] {
    return tables.flatMap((table) => Array.from(this.#written[table], ([key, value]) => ({ table, key, value })))
  }
}

/** Merges two ordered sequences. For a key that was written, only the written value counts. */
function* merged(
  own: readonly (readonly [string, Buffer | undefined])[],
  base: Iterable<readonly [string, Buffer]>,
  written: Values,
): Iterable<readonly [string, Buffer]> {
  let next = 0
  const ownUpTo = function* (key: string | undefined) {
    for (; next < own.length; next++) {
      const [ownKey, value] = own[next] as readonly [string, Buffer | undefined]
      if (key !== undefined && byBytes(ownKey, key) > 0) return
      if (value !== undefined) yield [ownKey, value] as const
    }
  }
  for (const [key, value] of base) {
    yield* ownUpTo(key)
    if (!written.has(key)) yield [key, value]
  }
  yield* ownUpTo(undefined)
}

/** The order of the UTF-8 bytes. JavaScript compares UTF-16 code units instead. */
const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))
