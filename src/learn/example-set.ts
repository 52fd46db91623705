// Rows to learn from: tokens and targets, in the order of the file.

import type { LabelSpace } from './label-space.js'
import type { Random } from './random.js'
import type { TokenSpan, TokenTable } from './token-table.js'
import type { WordTable } from './word-table.js'

export interface ExampleSet {
  readonly tokens: TokenTable
  /** Texts of the table that make a row: 2 where those of a pair are read apart. */
  readonly textsPerExample: 1 | 2
  /** The words of each row, where they are what has a target. */
  readonly words?: WordTable
  /** [units, width]: a unit is a row, or a word. */
  readonly targets: Float32Array
  readonly width: number
}

/** Some rows of a data set, by their numbers. */
export interface Subset {
  readonly set: ExampleSet
  readonly examples: Int32Array
}

/** A row as a graph takes it. */
export interface EncodedExample {
  readonly texts: readonly TokenSpan[]
  /** First token of each word, where words are what has a target. */
  readonly words?: Uint16Array
}

export const exampleCount = ({ tokens, textsPerExample: textsPerRow }: ExampleSet): number => tokens.texts / textsPerRow

export const wholeSet = (data: ExampleSet): Subset => ({
  set: data,
  examples: Int32Array.from({ length: exampleCount(data) }, (_, i) => i),
})

/** Tokens of a row. */
export const tokenCount = ({ tokens, textsPerExample: textsPerRow }: ExampleSet, row: number): number =>
  textsPerRow === 1 ? tokens.length(row) : tokens.length(2 * row) + tokens.length(2 * row + 1)

const textsOf = ({ tokens, textsPerExample: textsPerRow }: ExampleSet, row: number): readonly TokenSpan[] =>
  textsPerRow === 1 ? [tokens.span(row)] : [tokens.span(2 * row), tokens.span(2 * row + 1)]

export const encodedExamples = ({ set: data, examples: rows }: Subset): readonly EncodedExample[] =>
  Array.from(rows, (row) => ({ texts: textsOf(data, row), ...(data.words && { words: data.words.tokens(row) }) }))

/** Units of a row, by their numbers: the first, and the one after the last. */
const labelRange = ({ words }: ExampleSet, row: number): { readonly start: number; readonly end: number } =>
  words ? words.range(row) : { start: row, end: row + 1 }

/** Where the units of each row of a part begin, and where the last ones end: [rows + 1]. */
export function labelStarts({ set: data, examples: rows }: Subset): Int32Array {
  const starts = new Int32Array(rows.length + 1)
  for (const [at, row] of rows.entries()) {
    const { start, end } = labelRange(data, row)
    starts[at + 1] = (starts[at] ?? 0) + end - start
  }
  return starts
}

/** Targets of some rows, [units, width]. */
export function targetsOf(part: Subset): Float32Array {
  const { set: data, examples: rows } = part
  const { targets, width } = data
  const starts = labelStarts(part)
  const picked = new Float32Array((starts[rows.length] ?? 0) * width)
  for (const [at, row] of rows.entries()) {
    const { start, end } = labelRange(data, row)
    picked.set(targets.subarray(start * width, end * width), (starts[at] ?? 0) * width)
  }
  return picked
}

/**
 * Splits a data set into a part to learn from and a dev part, each label in the same share where rows have one label.
 * A label always keeps a row to learn from.
 */
export function split(
  data: ExampleSet,
  space: LabelSpace,
  devShare: number,
  random: Random,
): { train: Subset; dev: Subset } {
  const groups = new Map<number, number[]>()
  for (const row of random.order(exampleCount(data))) {
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
  const part = (rows: number[]): Subset => ({ set: data, examples: Int32Array.from(rows).sort() })
  return { train: part(train), dev: part(dev) }
}

/** At most so many rows of a part, drawn at random. */
export function sample(part: Subset, maxRows: number, random: Random): Subset {
  if (part.examples.length <= maxRows) return part
  const picked = random.order(part.examples.length).subarray(0, maxRows)
  return { set: part.set, examples: picked.map((at) => part.examples[at] ?? 0).sort() }
}

/** How many rows of `train` have the very tokens of a row of `dev`: a dev score that they make too good. */
export function countDuplicates(train: Subset, dev: Subset): number {
  // Rows of one hash as a chain from the last to the first of them: the dev part may have millions.
  const lastOf = new Map<number, number>()
  const before = new Int32Array(dev.examples.length)
  const textsAt = (at: number) => textsOf(dev.set, dev.examples[at] ?? 0)
  for (let at = 0; at < dev.examples.length; at++) {
    const hash = hashOf(textsAt(at))
    before[at] = lastOf.get(hash) ?? -1
    lastOf.set(hash, at)
  }
  let count = 0
  for (const row of train.examples) {
    const texts = textsOf(train.set, row)
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
