// Rows to learn from: tokens and targets, in the order of the file.

import type { LabelSpace } from './label-space.js'
import type { Random } from './random.js'
import type { TokenSpan, TokenTable } from './token-table.js'
import type { WordTable } from './word-table.js'

export interface DataSet {
  readonly tokens: TokenTable
  /** Texts of the table that make a row: 2 where those of a pair are read apart. */
  readonly textsPerRow: 1 | 2
  /** The words of each row, where they are what has a target. */
  readonly words?: WordTable
  /** [units, width]: a unit is a row, or a word. */
  readonly targets: Float32Array
  readonly width: number
}

/** Some rows of a data set, by their numbers. */
export interface Part {
  readonly data: DataSet
  readonly rows: Int32Array
}

/** A row as a graph takes it. */
export interface BatchRow {
  readonly texts: readonly TokenSpan[]
  /** First token of each word, where words are what has a target. */
  readonly words?: Uint16Array
}

export const rowCount = ({ tokens, textsPerRow }: DataSet): number => tokens.texts / textsPerRow

export const wholeOf = (data: DataSet): Part => ({
  data,
  rows: Int32Array.from({ length: rowCount(data) }, (_, i) => i),
})

/** Tokens of a row. */
export const lengthOf = ({ tokens, textsPerRow }: DataSet, row: number): number =>
  textsPerRow === 1 ? tokens.length(row) : tokens.length(2 * row) + tokens.length(2 * row + 1)

const textsOf = ({ tokens, textsPerRow }: DataSet, row: number): readonly TokenSpan[] =>
  textsPerRow === 1 ? [tokens.span(row)] : [tokens.span(2 * row), tokens.span(2 * row + 1)]

export const batchRowsOf = ({ data, rows }: Part): readonly BatchRow[] =>
  Array.from(rows, (row) => ({ texts: textsOf(data, row), ...(data.words && { words: data.words.tokens(row) }) }))

/** Units of a row, by their numbers: the first, and the one after the last. */
const unitsOf = ({ words }: DataSet, row: number): { readonly start: number; readonly end: number } =>
  words ? words.range(row) : { start: row, end: row + 1 }

/** Where the units of each row of a part begin, and where the last ones end: [rows + 1]. */
export function unitStarts({ data, rows }: Part): Int32Array {
  const starts = new Int32Array(rows.length + 1)
  for (const [at, row] of rows.entries()) {
    const { start, end } = unitsOf(data, row)
    starts[at + 1] = (starts[at] ?? 0) + end - start
  }
  return starts
}

/** Targets of some rows, [units, width]. */
export function targetsOf(part: Part): Float32Array {
  const { data, rows } = part
  const { targets, width } = data
  const starts = unitStarts(part)
  const picked = new Float32Array((starts[rows.length] ?? 0) * width)
  for (const [at, row] of rows.entries()) {
    const { start, end } = unitsOf(data, row)
    picked.set(targets.subarray(start * width, end * width), (starts[at] ?? 0) * width)
  }
  return picked
}

/**
 * Splits a data set into a part to learn from and a dev part, each label in the same share where rows have one label.
 * A label always keeps a row to learn from.
 */
export function split(data: DataSet, space: LabelSpace, devShare: number, random: Random): { train: Part; dev: Part } {
  const groups = new Map<number, number[]>()
  for (const row of random.order(rowCount(data))) {
    const key = space.problem === 'single_label_classification' ? (data.targets[row] ?? 0) : 0
    const group = groups.get(key)
    if (group) group.push(row)
    else groups.set(key, [row])
  }
  const train: number[] = []
  const dev: number[] = []
  for (const group of groups.values()) {
    const count = Math.min(group.length - 1, Math.round(devShare * group.length))
    for (const [at, row] of group.entries()) (at < count ? dev : train).push(row)
  }
  const part = (rows: number[]): Part => ({ data, rows: Int32Array.from(rows).sort() })
  return { train: part(train), dev: part(dev) }
}

/** At most so many rows of a part, drawn at random. */
export function sample(part: Part, maxRows: number, random: Random): Part {
  if (part.rows.length <= maxRows) return part
  const picked = random.order(part.rows.length).subarray(0, maxRows)
  return { data: part.data, rows: picked.map((at) => part.rows[at] ?? 0).sort() }
}

/** How many rows of `train` have the very tokens of a row of `dev`: a dev score that they make too good. */
export function countDuplicates(train: Part, dev: Part): number {
  // Rows of one hash as a chain from the last to the first of them: the dev part may have millions.
  const lastOf = new Map<number, number>()
  const before = new Int32Array(dev.rows.length)
  const textsAt = (at: number) => textsOf(dev.data, dev.rows[at] ?? 0)
  for (let at = 0; at < dev.rows.length; at++) {
    const hash = hashOf(textsAt(at))
    before[at] = lastOf.get(hash) ?? -1
    lastOf.set(hash, at)
  }
  let count = 0
  for (const row of train.rows) {
    const texts = textsOf(train.data, row)
    let at = lastOf.get(hashOf(texts)) ?? -1
    while (at >= 0 && !sameTexts(texts, textsAt(at))) at = before[at] ?? -1
    if (at >= 0) count++
  }
  return count
}

const hashOf = (texts: readonly TokenSpan[]): number => {
  let hash = 0
  for (const { inputIds } of texts) for (const id of inputIds) hash = (Math.imul(hash, 31) + id) | 0
  return hash
}

const sameTexts = (a: readonly TokenSpan[], b: readonly TokenSpan[]): boolean =>
  a.length === b.length &&
  a.every((text, at) => {
    const other = b[at]
    return other !== undefined && sameTokens(text, other)
  })

const sameTokens = (a: TokenSpan, b: TokenSpan): boolean =>
  a.inputIds.length === b.inputIds.length &&
  a.inputIds.every((id, at) => id === b.inputIds[at] && a.tokenTypeIds[at] === b.tokenTypeIds[at])
