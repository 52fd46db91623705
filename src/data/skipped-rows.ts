// Counts the rows of a data file that cannot be used, by reason, and keeps the first places of each.

export interface SkippedRows {
  readonly reason: string
  readonly rows: number
  /** The first of them. */
  readonly places: readonly string[]
}

const maxPlaces = 5
/** A reason quotes a value, and a file may have any number of them. */
const maxReasons = 20

export class SkipCounter {
  readonly #byReason = new Map<string, { rows: number; places: string[] }>()

  add(place: string, reason: string): void {
    const key = this.#byReason.has(reason) || this.#byReason.size < maxReasons ? reason : 'other reasons'
    const known = this.#byReason.get(key) ?? { rows: 0, places: [] }
    known.rows++
    if (known.places.length < maxPlaces) known.places.push(place)
    this.#byReason.set(key, known)
  }

  get rows(): number {
    return [...this.#byReason.values()].reduce((sum, { rows }) => sum + rows, 0)
  }

  get byReason(): readonly SkippedRows[] {
    return Array.from(this.#byReason, ([reason, { rows, places }]) => ({ reason, rows, places: [...places] }))
  }
}

/** @param path is left out of the places, because the message names the file */
export function describeSkipped(path: string, { reason, rows, places }: SkippedRows): string {
  const short = places.map((place) => place.slice(path.length + 1).trim())
  const numbers = short.map((place) => /^(?:row )?(\d+)$/.exec(place)?.[1])
  const name = short[0]?.startsWith('row') ? 'row' : 'line'
  const more = rows > places.length ? ', …' : ''
  const where = numbers.includes(undefined)
    ? `line ${short.join('; ')}`
    : `${name}${rows > 1 ? 's' : ''} ${numbers.join(', ')}`
  return `${rows.toLocaleString('en-US')} ${rows === 1 ? 'row is' : 'rows are'} skipped, because ${reason} (${where}${more})`
}
