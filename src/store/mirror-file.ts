// One lmdb file with a copy of the shared database: its records after a certain change, their number and digest, and
// the change's place in the history of the database. mirror.ts decides which file of a directory is the mirror.

import { execFile } from 'node:child_process'
import { rmSync, type Stats, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Problem } from '../problem.js'
import { type Contents, sumOf, Tally } from './digest.js'
import { Environment } from './environment.js'
import { FileTables } from './file-tables.js'
import type { Write } from './overlay.js'
import type { Records } from './records.js'
import { forTables, isSmallTable, type Table, tables } from './store.js'

/** A change of the database. Its mark is random: a change with the same number in another history has another mark. */
export interface Position {
  readonly number: number
  readonly mark: string
  /** By the database's clock, in milliseconds of the epoch. Missing in mirrors of earlier versions. */
  readonly madeAt?: number
}

export const isSamePosition = (a: Position, b: Position): boolean => a.number === b.number && a.mark === b.mark

/** A mirror's place in the history of its database. */
export interface History {
  readonly position: Position
  /** Earlier changes, newest first, fewer the further back. They show where another history branched off. */
  readonly earlier: readonly Position[]
  /** The value of `--accept-history` with which the mirror last changed to another history. */
  readonly accepted?: string | undefined
}

/** Earlier versions made a full copy within the same file, on the side that was not being read. */
type Side = 'a' | 'b'

interface State extends Partial<History> {
  readonly side: Side
  readonly position: Position
  /** The tables that it holds. A later version of this program may know more; it then needs a copy that has them. */
  readonly tables: readonly string[]
  /** Missing in mirrors of earlier versions. */
  readonly contents?: Contents | undefined
  /** The small tables have all changes up to this number. If absent, up to the position. */
  readonly smallAt?: number | undefined
}

/** What read-all.ts finds in a file. */
export interface FileContents {
  /** The record `current` of the table `state`. */
  state: string | undefined
  /** By the names of the lmdb tables. */
  readonly contents: Record<string, Contents>
}

/** A mirror remembers each of its positions among this many latest changes, and fewer of the older ones. */
export const exactlyKnown = 32

export const stateTable = 'state'
const lmdbTableName = (side: Side, table: Table) => `${side}/${table}`
/** The store's table that an lmdb table holds. */
export const storeTableName = (name: string): string => name.slice(name.indexOf('/') + 1)

export class MirrorFile extends FileTables {
  #complete: boolean

  private constructor(
    readonly path: string,
    readonly environment: Environment,
    readonly side: Side,
    records: Readonly<Record<Table, Records>>,
    readonly state: Records,
    readonly identity: Pick<Stats, 'dev' | 'ino'>,
  ) {
    super(records)
    this.#complete = tables.every((table) => this.#state?.tables.includes(table))
  }

  /** @throws Problem `invalid_setting` if the directory cannot be used, `storage_damaged` */
  static open(path: string): MirrorFile {
    const environment = Environment.open(path, { readDisplaced: true })
    const state = environment.records(stateTable)
    const side = stateOf(state.get('current')?.toString())?.side ?? 'a'
    const records = forTables((table) => environment.records(lmdbTableName(side, table)))
    const { dev, ino } = statSync(path)
    return new MirrorFile(path, environment, side, records, state, { dev, ino })
  }

  /** Undefined until the copy is complete. */
  get history(): History | undefined {
    return historyOf(this.#state)
  }

  /** Whether it holds all tables that this program knows. */
  get complete(): boolean {
    return this.#complete
  }

  /** Undefined for a copy of an earlier version. */
  get contents(): Contents | undefined {
    return this.#state?.contents
  }

  /** The small tables have all changes up to this number, if they are newer than the rest. */
  get smallAt(): number | undefined {
    return this.#state?.smallAt
  }

  isSameFile({ dev, ino }: Pick<Stats, 'dev' | 'ino'>): boolean {
    return dev === this.identity.dev && ino === this.identity.ino
  }

  /** Advances from one position to a later one. Does nothing if another process has already advanced the file. */
  async advance(from: Position, to: Position, writes: readonly Write[]): Promise<void> {
    await this.environment.commit(() => {
      const state = this.#state
      if (state === undefined || !isSamePosition(state.position, from)) return
      const { smallAt = 0, accepted } = state
      const isSmallNewer = smallAt > to.number
      const tally = state.contents && new Tally(state.contents)
      this.#apply(isSmallNewer ? writes.filter(({ table }) => !isSmallTable(table)) : writes, tally)
      const earlier = thinned([from, ...(state.earlier ?? [])], to.number)
      this.#write({ position: to, earlier, accepted }, tally?.contents, isSmallNewer ? smallAt : undefined)
    })
  }

  /** Advances only the small tables to a later change, before large records have arrived. */
  async advanceSmall(from: Position, smallAt: number, writes: readonly Write[]): Promise<void> {
    await this.environment.commit(() => {
      const state = this.#state
      if (state === undefined || !isSamePosition(state.position, from) || (state.smallAt ?? from.number) >= smallAt)
        return
      const tally = state.contents && new Tally(state.contents)
      this.#apply(writes, tally)
      const { position, earlier = [], accepted } = state
      this.#write({ position, earlier, accepted }, tally?.contents, smallAt)
    })
  }

  /** Fills an empty file. Until the last page is written, the file does not count as a copy. */
  async fill(history: History, pages: AsyncIterable<readonly Write[]>): Promise<void> {
    const tally = new Tally()
    for await (const page of pages) await this.environment.commit(() => this.#apply(page, tally))
    await this.environment.commit(() => this.#write(history, tally.contents))
    this.#complete = true
  }

  close(): Promise<void> {
    return this.environment.close()
  }

  /** Removes a file that did not become a complete copy. */
  async discard(): Promise<void> {
    if (isFileAt(this.path, this)) removeFile(this.path)
    await this.close()
  }

  get #state(): State | undefined {
    return stateOf(this.state.get('current')?.toString())
  }

  #write(history: History, contents: Contents | undefined, smallAt?: number): void {
    const state: State = { side: this.side, tables, contents, smallAt, ...history }
    this.state.put('current', Buffer.from(JSON.stringify(state)))
  }

  #apply(writes: readonly Write[], tally: Tally | undefined): void {
    for (const { table, key, value } of writes) {
      const before = tally && this.records[table].get(key)
      if (before) tally.remove(table, key, before)
      if (value === undefined) void this.records[table].remove(key)
      else {
        tally?.add(table, key, value)
        void this.records[table].put(key, value)
      }
    }
  }
}

export function removeFile(path: string): void {
  for (const file of [path, `${path}-lock`]) rmSync(file, { force: true })
}

/** Whether the file at a path is the one that is open. */
export function isFileAt(path: string, file: MirrorFile): boolean {
  const found = statSync(path, { throwIfNoEntry: false })
  return found !== undefined && file.isSameFile(found)
}

const readAll = fileURLToPath(new URL('./read-all.js', import.meta.url))
const run = promisify(execFile)

/** The result of a check. Without `damage` the file is intact. */
export interface Finding {
  readonly damage?: string
  readonly history?: History | undefined
}

/**
 * Reads a whole file in a separate process, which a damaged file may crash, and compares it with its own count and
 * digest.
 * @param signal ends the check
 * @throws Problem `shutting_down` if the check was ended
 */
export async function examine(path: string, signal?: AbortSignal): Promise<Finding> {
  try {
    const { stdout } = await run(process.execPath, [readAll, path], { maxBuffer: 1024 * 1024, signal })
    const found = JSON.parse(stdout) as FileContents
    const state = stateOf(found.state)
    const history = historyOf(state)
    if (state?.contents === undefined) return { history }
    const { records, digest } = sumOf(tables.map((table) => found.contents[lmdbTableName(state.side, table)]))
    if (records !== state.contents.records)
      return { history, damage: `it holds ${records} of ${state.contents.records} records` }
    return digest === state.contents.digest ? { history } : { history, damage: 'its digest is wrong' }
  } catch (error) {
    if (signal?.aborted) throw new Problem('shutting_down', 'stopped while reading the mirror of the database')
    return { damage: damageOf(error as Error) }
  }
}

/** @param error of execFile, with the signal that ended the process, or with its exit code and output */
function damageOf(error: Error & { signal?: string | null; stderr?: string }): string {
  if (error.signal) return `reading it crashes the process (${error.signal})`
  const said = /^\w*Error: .*$/m.exec(error.stderr ?? '')?.[0]
  return `it cannot be read: ${said ?? error.message}`
}

const stateOf = (text: string | undefined): State | undefined =>
  text === undefined ? undefined : (JSON.parse(text) as State)

const historyOf = (state: State | undefined): History | undefined =>
  state && { position: state.position, earlier: state.earlier ?? [], accepted: state.accepted }

/**
 * Keeps all of the latest positions. Of the older ones, keeps the nearest and furthest for each power of two of
 * distance.
 */
function thinned(newestFirst: readonly Position[], number: number): Position[] {
  const kept = new Map<number, Position[]>()
  for (const position of newestFirst) {
    const distance = number - position.number
    const power = distance <= exactlyKnown ? -distance : Math.floor(Math.log2(distance))
    const [nearest = position] = kept.get(power) ?? []
    kept.set(power, nearest === position ? [position] : [nearest, position])
  }
  return [...kept.values()].flat()
}
