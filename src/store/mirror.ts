// The local copy of a shared database, in one lmdb file: what a replica reads. It holds the state behind one change of
// the database, always as a whole. Several processes of a machine may share it.

import { rmSync } from 'node:fs'
import type { Logger } from 'pino'
import { Problem } from '../problem.js'
import { countOf, Environment, type Records, readRange } from './environment.js'
import type { Write } from './overlay.js'
import { forTables, type RecordRange, type StoreReader, type Table, tables } from './store.js'

/** A change of the database. The mark is random: a number that another history of the database has too says nothing. */
export interface Position {
  readonly number: number
  readonly mark: string
}

/** A full copy is written to the side that is not read, and then the sides change. */
type Side = 'a' | 'b'

interface State {
  readonly side: Side
  readonly position: Position
  /** Tables that it holds. A later program may know more, and then needs a copy with these. */
  readonly tables: readonly string[]
}

export class Mirror implements StoreReader {
  private constructor(
    readonly environment: Environment,
    readonly sides: Readonly<Record<Side, Readonly<Record<Table, Records>>>>,
    readonly state: Records,
  ) {}

  /** @throws Problem `invalid_setting` if the directory cannot be used, `storage_damaged` */
  static open(directory: string): Mirror {
    const environment = Environment.open(mirrorFile(directory))
    const side = (name: Side) => forTables((table) => environment.records(`${name}/${table}`))
    return new Mirror(environment, { a: side('a'), b: side('b') }, environment.records('state'))
  }

  /** The change behind which this is the database's state; undefined before the first full copy. */
  get position(): Position | undefined {
    const state = this.#state
    return tables.every((table) => state?.tables.includes(table)) ? state?.position : undefined
  }

  get(table: Table, key: string): Buffer | undefined {
    return this.#current[table].get(key)
  }

  prefetch(table: Table, key: string): Promise<void> {
    return this.#current[table].prefetch([key])
  }

  range(table: Table, range?: RecordRange): Iterable<readonly [string, Buffer]> {
    return readRange(this.#current[table], range)
  }

  count(table: Table): number {
    return countOf(this.#current[table])
  }

  /** Goes from one position to a later one. Nothing happens if another process has gone on from there already. */
  async advance(from: Position, to: Position, writes: readonly Write[]): Promise<void> {
    await this.environment.commit(() => {
      const state = this.#state
      if (state === undefined || !isSame(state.position, from)) return
      apply(this.sides[state.side], writes)
      this.#write(state.side, to)
    })
  }

  /**
   * Becomes a full copy of the database at a position.
   * @param pages of all records; until the last one is here, readers see what they saw before
   */
  async replace(position: Position, pages: AsyncIterable<readonly Write[]>): Promise<void> {
    const before = this.#state?.side
    const side = before === 'a' ? 'b' : 'a'
    const own = Buffer.from(crypto.randomUUID())
    const clear = async (side: Side) => {
      for (const table of tables) await this.environment.commit(() => this.sides[side][table].clearSync())
    }
    await this.environment.commit(() => void this.state.put('copying', own))
    await clear(side)
    for await (const page of pages)
      await this.environment.commit(() => {
        this.#checkCopying(own)
        apply(this.sides[side], page)
      })
    await this.environment.commit(() => {
      this.#checkCopying(own)
      this.#write(side, position)
    })
    if (before !== undefined) await clear(before)
  }

  close(): Promise<void> {
    return this.environment.close()
  }

  get #state(): State | undefined {
    const bytes = this.state.get('current')
    return bytes && (JSON.parse(bytes.toString()) as State)
  }

  #write(side: Side, position: Position): void {
    const state: State = { side, position, tables }
    this.state.put('current', Buffer.from(JSON.stringify(state)))
  }

  get #current(): Readonly<Record<Table, Records>> {
    return this.sides[this.#state?.side ?? 'a']
  }

  #checkCopying(own: Buffer): void {
    if (this.state.get('copying')?.equals(own)) return
    throw new Error('another process makes a full copy in the same directory')
  }
}

const mirrorFile = (directory: string): string => `${directory}/mirror.lmdb`

/** Opens the mirror in a directory. One that is damaged is only a copy: it is thrown away. */
export function openMirror(directory: string, logger: Pick<Logger, 'warn'>): Mirror {
  try {
    return Mirror.open(directory)
  } catch (error) {
    if (!(error instanceof Problem) || error.code !== 'storage_damaged') throw error
    logger.warn({ reason: error.message }, 'the mirror of the database is damaged, and is made anew')
    for (const file of [mirrorFile(directory), `${mirrorFile(directory)}-lock`]) rmSync(file, { force: true })
    return Mirror.open(directory)
  }
}

export const isSame = (a: Position, b: Position): boolean => a.number === b.number && a.mark === b.mark

function apply(records: Readonly<Record<Table, Records>>, writes: readonly Write[]): void {
  for (const { table, key, value } of writes)
    if (value === undefined) void records[table].remove(key)
    else void records[table].put(key, value)
}
