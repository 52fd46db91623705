// Rows to learn from: tokens and targets, in the order of the file.

import type { TextTokenizer } from '../backbones/tokenizer.js'
import { type Columns, type Example, type OnReading, readExamples } from './examples.js'
import { type LabelSpace, targetWidth, writeTarget } from './labels.js'
import type { Random } from './random.js'
import { type TokenSpan, TokenTable } from './token-table.js'

export interface DataSet {
  readonly tokens: TokenTable
  /** [rows, targetWidth] */
  readonly targets: Float32Array
  readonly width: number
}

/** Some rows of a data set, by their numbers. */
export interface Part {
  readonly data: DataSet
  readonly rows: Int32Array
}

export const wholeOf = (data: DataSet): Part => ({
  data,
  rows: Int32Array.from({ length: data.tokens.rows }, (_, i) => i),
})

/** Texts that are tokenised at once, off the main thread. */
const tokenizedTogether = 512

/** Rows without text that are named one by one; the others are counted. */
const toldSingly = 5

/**
 * Reads and tokenises a file.
 * @param onLeftOut told which rows had no text
 * @param vocabulary size of the tokenizer's vocabulary
 * @throws Problem `invalid_data`, `unreadable_file`
 */
export async function loadDataSet(
  path: string,
  columns: Columns,
  space: LabelSpace,
  tokenizer: TextTokenizer,
  vocabulary: number,
  onLeftOut: (what: string) => void = () => {},
  onReading?: OnReading,
): Promise<DataSet> {
  const tokens = new TokenTable(vocabulary)
  const width = targetWidth(space)
  const target = new Float32Array(width)
  let targets = new Float32Array(1024 * width)
  let waiting: Example[] = []
  const flush = async () => {
    const encoded = await Promise.all(waiting.map((example) => tokenizer.encode(example)))
    for (const [i, { inputIds, tokenTypeIds }] of encoded.entries()) {
      const example = waiting[i]
      if (example) writeTarget(space, example, target)
      if ((tokens.rows + 1) * width > targets.length) {
        const larger = new Float32Array(2 * targets.length)
        larger.set(targets)
        targets = larger
      }
      targets.set(target, tokens.rows * width)
      tokens.add(inputIds, tokenTypeIds)
    }
    waiting = []
  }
  let leftOut = 0
  const tellFirst = (what: string) => {
    if (leftOut++ < toldSingly) onLeftOut(what)
  }
  for await (const example of readExamples(path, columns, tellFirst, onReading)) {
    waiting.push(example)
    if (waiting.length === tokenizedTogether) await flush()
  }
  await flush()
  if (leftOut > toldSingly) onLeftOut(`${path}: ${leftOut - toldSingly} more rows without text are left out`)
  return { tokens, targets: targets.slice(0, tokens.rows * width), width }
}

/** Targets of some rows, [rows, width]. */
export function targetsOf({ data, rows }: Part): Float32Array {
  const { targets, width } = data
  const picked = new Float32Array(rows.length * width)
  for (const [at, row] of rows.entries()) picked.set(targets.subarray(row * width, (row + 1) * width), at * width)
  return picked
}

/**
 * Splits a data set into a part to learn from and a dev part, each label in the same share where rows have one label.
 * A label always keeps a row to learn from.
 */
export function split(data: DataSet, space: LabelSpace, devShare: number, random: Random): { train: Part; dev: Part } {
  const groups = new Map<number, number[]>()
  for (const row of random.order(data.tokens.rows)) {
    const key = space.problem === 'single_label_classification' ? (data.targets[row] ?? 0) : 0
    const group = groups.get(key)
    if (group) group.push(row)
    else groups.set(key, [row])
  }
  const train: number[] = []
  const dev: number[] = []
  for (const group of groups.values()) {
    const count = Math.min(group.length - 1, Math.round(devShare * group.length))
    dev.push(...group.slice(0, count))
    for (const row of group.slice(count)) train.push(row)
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
  const spanAt = (at: number) => dev.data.tokens.span(dev.rows[at] ?? 0)
  for (let at = 0; at < dev.rows.length; at++) {
    const hash = hashOf(spanAt(at))
    before[at] = lastOf.get(hash) ?? -1
    lastOf.set(hash, at)
  }
  let count = 0
  for (const row of train.rows) {
    const span = train.data.tokens.span(row)
    let at = lastOf.get(hashOf(span)) ?? -1
    while (at >= 0 && !sameTokens(span, spanAt(at))) at = before[at] ?? -1
    if (at >= 0) count++
  }
  return count
}

const hashOf = ({ inputIds }: TokenSpan): number => {
  let hash = inputIds.length
  for (const id of inputIds) hash = (Math.imul(hash, 31) + id) | 0
  return hash
}

const sameTokens = (a: TokenSpan, b: TokenSpan): boolean =>
  a.inputIds.length === b.inputIds.length &&
  a.inputIds.every((id, at) => id === b.inputIds[at] && a.tokenTypeIds[at] === b.tokenTypeIds[at])
