// The kept texts of a task in the store. Each has a small record for its place in the list and a record with the text, so
// that choosing texts does not read all of them. All functions with a StoreWriter run within one change.

import { createHash } from 'node:crypto'
import { type RecordRange, recordsIn, type StoreReader, type StoreWriter } from '../store/store.js'
import { removePage } from '../tasks/record-pages.js'
import { readKeeping, type TextKeeping, writeKeeping } from '../tasks/text-keeping.js'
import { mostTogether, type SeenText } from './text-buffer.js'

/** Most texts of a task. */
export const mostTexts = 2_000
/** A task with more texts than this evicts some, before the next ones find no room. */
const fullAbove = mostTexts - mostTogether
/** How many texts are left then, so that not every write evicts some. */
const leftAfterEviction = mostTexts - 3 * mostTogether
/** Bytes of a text's two keys and its place, roughly, which count in the owner's usage. */
const bytesAround = 200
const msPerDay = 86_400_000

/** The place of a text in the list of its task. */
export interface Place {
  /** Identifies the text in its task. */
  readonly name: string
  readonly uncertainty: number
  /** When it was last seen, in milliseconds of the epoch. */
  readonly at: number
  readonly seen: number
  /** What it counts in the owner's usage. */
  readonly bytes: number
  readonly requestId: string
  readonly index: number
}

/** What the record of a text has. */
export type KeptText = Pick<SeenText, 'text' | 'textPair' | 'tokens' | 'label' | 'score' | 'version'>

/** What an example of the text is identified by: the text and its pair, or the words. */
export const exampleTextOf = ({ text, textPair, tokens }: KeptText) =>
  tokens ? { tokens } : { text, ...(textPair !== undefined && { textPair }) }

const nameOf = ({ text, textPair = '' }: KeptText): string =>
  createHash('sha256').update(`${text}\0${textPair}`).digest('hex').slice(0, 20)

const folderOf = (key: string, incarnation: string): string => `${key}/${incarnation}`
const placeKey = (folder: string, name: string): string => `${folder}/p${name}`
const textKey = (folder: string, name: string): string => `${folder}/t${name}`

/** An array, because JSON.parse of thousands of them takes a millisecond. */
type PlaceRecord = [uncertainty: number, at: number, seen: number, bytes: number, index: number, requestId: string]

const placeBytes = ({ uncertainty, at, seen, bytes, index, requestId }: Place): Buffer =>
  Buffer.from(JSON.stringify([uncertainty, at, seen, bytes, index, requestId] satisfies PlaceRecord))

function parsePlace(name: string, value: Buffer): Place {
  const [uncertainty, at, seen, bytes, index, requestId] = JSON.parse(value.toString()) as PlaceRecord
  return { name, uncertainty, at, seen, bytes, index, requestId }
}

/** The places of a task's texts, in the order of their names. `after` is a name. */
export function* places(
  records: StoreReader,
  key: string,
  { incarnation }: Pick<TextKeeping, 'incarnation'>,
  { after = '', limit }: Pick<RecordRange, 'after' | 'limit'> = {},
): Iterable<Place> {
  const folder = folderOf(key, incarnation)
  const prefix = placeKey(folder, '').length
  const range = { after: placeKey(folder, after), before: `${folder}/q`, ...(limit !== undefined && { limit }) }
  for (const [each, value] of records.range('recent', range)) yield parsePlace(each.slice(prefix), value)
}

export function readText(
  records: StoreReader,
  key: string,
  { incarnation }: Pick<TextKeeping, 'incarnation'>,
  name: string,
): KeptText | undefined {
  const bytes = records.get('recent', textKey(folderOf(key, incarnation), name))
  return bytes && (JSON.parse(bytes.toString()) as KeptText)
}

/** When texts of a task expire that were not seen since, in milliseconds of the epoch. */
export const expiresBefore = ({ days }: Pick<TextKeeping, 'days'>, now: number): number => now - days * msPerDay

export interface Added {
  readonly added: number
  /** Texts that found no room in the owner's quota. */
  readonly rejected: number
  /** The bytes that the task's texts take more than before. */
  readonly bytes: number
  /** Whether `evict` should run. */
  readonly isFull: boolean
}

/**
 * Adds texts. A text that is known is replaced. It does nothing if texts of that incarnation are no longer kept.
 * @param room most bytes that they may take more than before
 */
export function addTexts(
  records: StoreWriter,
  key: string,
  incarnation: string,
  texts: readonly SeenText[],
  room: number,
): Added {
  const keeping = readKeeping(records, key)
  if (keeping?.incarnation !== incarnation) return { added: 0, rejected: 0, bytes: 0, isFull: false }
  const folder = folderOf(key, incarnation)
  let { texts: count, oldest = Number.POSITIVE_INFINITY } = keeping
  let [added, rejected, bytes] = [0, 0, 0]
  for (const { uncertainty, at, seen, requestId, index, ...text } of texts) {
    const name = nameOf(text)
    const found = records.get('recent', placeKey(folder, name))
    const before = found && parsePlace(name, found)
    if (before === undefined && count >= mostTexts) continue
    const value = Buffer.from(JSON.stringify(text))
    const own = value.byteLength + bytesAround
    const more = own - (before?.bytes ?? 0)
    if (more > 0 && bytes + more > room) {
      rejected++
      continue
    }
    const place = { name, uncertainty, at, seen: seen + (before?.seen ?? 0), bytes: own, requestId, index }
    records.put('recent', placeKey(folder, name), placeBytes(place))
    records.put('recent', textKey(folder, name), value)
    if (before === undefined) count++
    added++
    bytes += more
    oldest = Math.min(oldest, at)
  }
  if (added > 0) writeKeeping(records, key, { ...keeping, texts: count, bytes: keeping.bytes + bytes, oldest })
  return { added, rejected, bytes, isFull: count > fullAbove }
}

export interface Removed {
  /** The bytes that were freed. */
  readonly bytes: number
  readonly isMore: boolean
}

/** Deletes the texts that are least worth keeping, if a task has many. */
export function evict(records: StoreWriter, key: string, now: number): Removed {
  const keeping = readKeeping(records, key)
  if (keeping === undefined || keeping.texts <= fullAbove) return { bytes: 0, isMore: false }
  const bytes = keepOnly(records, key, keeping, (all) => mostWorthKeeping(all, keeping, now))
  return { bytes, isMore: false }
}

/** Those that stay: a text loses its uncertainty as it ages, so that the most certain and the oldest go first. */
function mostWorthKeeping(all: readonly Place[], { days }: TextKeeping, now: number): readonly Place[] {
  const worth = ({ uncertainty, at }: Place) => uncertainty - (now - at) / (days * msPerDay)
  return [...all].sort((a, b) => worth(b) - worth(a)).slice(0, leftAfterEviction)
}

/**
 * Deletes texts that were not seen within the days that they may be kept.
 * @param most how many at once
 */
export function removeExpired(records: StoreWriter, key: string, now: number, most: number): Removed {
  const keeping = readKeeping(records, key)
  if (keeping === undefined || !hasExpired(keeping, now)) return { bytes: 0, isMore: false }
  const limit = expiresBefore(keeping, now)
  let expired = 0
  const bytes = keepOnly(records, key, keeping, (all) => all.filter(({ at }) => at >= limit || ++expired > most))
  return { bytes, isMore: expired > most }
}

export const hasExpired = (keeping: TextKeeping, now: number): boolean =>
  keeping.oldest !== undefined && keeping.oldest < expiresBefore(keeping, now)

/** Deletes the other texts, and counts those that stay. @returns the bytes that were freed */
function keepOnly(
  records: StoreWriter,
  key: string,
  { oldest: _oldest, ...keeping }: TextKeeping,
  choose: (all: readonly Place[]) => readonly Place[],
): number {
  const folder = folderOf(key, keeping.incarnation)
  const all = [...places(records, key, keeping)]
  const kept = new Set(choose(all))
  let [bytes, oldest] = [0, Number.POSITIVE_INFINITY]
  for (const place of all) {
    if (kept.has(place)) {
      bytes += place.bytes
      oldest = Math.min(oldest, place.at)
      continue
    }
    records.remove('recent', placeKey(folder, place.name))
    records.remove('recent', textKey(folder, place.name))
  }
  writeKeeping(records, key, { ...keeping, texts: kept.size, bytes, ...(kept.size > 0 && { oldest }) })
  return keeping.bytes - bytes
}

/** What a key of the table `recent` belongs to. */
export interface Belonging {
  /** Key of the task. */
  readonly key: string
  /** Of the keeping that a text was collected for; undefined for the record of the keeping itself. */
  readonly incarnation: string | undefined
}

export function belongingOf(recordKey: string): Belonging {
  if (recordKey.endsWith('/')) return { key: recordKey.slice(0, -1), incarnation: undefined }
  const parts = recordKey.split('/')
  return { key: parts.slice(0, -2).join('/'), incarnation: parts.at(-2) }
}

/** The texts of one keeping. */
export const textsOf = (key: string, incarnation: string): RecordRange => recordsIn(folderOf(key, incarnation))

/**
 * Deletes some of the texts that belong to no keeping: it was switched off, or the task is gone.
 * @returns whether none are left
 */
export function removeOrphans(records: StoreWriter, key: string, incarnation: string): boolean {
  if (readKeeping(records, key)?.incarnation === incarnation) return true
  return removePage(records, 'recent', textsOf(key, incarnation))
}
