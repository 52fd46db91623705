// Whether the owner of a task wants texts of its requests kept, and how much is kept. It is off unless the owner switches it
// on. The record is the first one of the task in the table `recent`; suggestions/ writes the texts, which follow it.

import type { StoreReader, StoreWriter } from '../store/store.js'

export interface TextKeeping {
  /** A text is deleted this many days after it was last seen. */
  readonly days: number
  /** Random. Texts with another incarnation are deleted: they were collected before keeping was switched off. */
  readonly incarnation: string
  /** How many texts are kept, and their bytes, which count in the owner's usage. */
  readonly texts: number
  readonly bytes: number
  /** When the oldest text was last seen, or earlier, in milliseconds of the epoch. */
  readonly oldest?: number
}

/** @param key of the task */
export const keepingKey = (key: string): string => `${key}/`

/** Undefined if no texts are kept. */
export function readKeeping(records: Pick<StoreReader, 'get'>, key: string): TextKeeping | undefined {
  const bytes = records.get('recent', keepingKey(key))
  return bytes && (JSON.parse(bytes.toString()) as TextKeeping)
}

export function writeKeeping(records: StoreWriter, key: string, keeping: TextKeeping): void {
  records.put('recent', keepingKey(key), Buffer.from(JSON.stringify(keeping)))
}

/**
 * Keeps no texts from now on. Those that were kept can no longer be read; a server deletes them soon.
 * @returns the bytes that the owner no longer uses
 */
export function stopKeeping(records: StoreWriter, key: string): number {
  const keeping = readKeeping(records, key)
  if (keeping !== undefined) records.remove('recent', keepingKey(key))
  return keeping?.bytes ?? 0
}
