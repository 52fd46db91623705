// Encoded examples in memory: tokens and targets, in the order of the file; and subsets of them.

import type { LabelSpace } from '../data/label-space.js'
import type { InputKind } from '../petl/task.js'
import type { Random } from './random.js'
import type { TokenSpan, TokenTable } from './token-table.js'
import type { WordTable } from './word-table.js'

export interface ExampleSet {
  readonly tokens: TokenTable
  /** Whether all examples are single texts, or pairs that are encoded together. Absent if some are pairs. */
  readonly inputs?: InputKind
  /** Texts of the table for each example: 2 for pairs whose texts are encoded separately. */
  readonly textsPerExample: 1 | 2
  /** The labelled words of each example, if words have labels. */
  readonly words?: WordTable
  /** [N, width]: one target for each example or, if words have labels, for each word. */
  readonly targets: Float32Array
  readonly width: number
}

/** Some examples of a set, by index. */
export interface Subset {
  readonly set: ExampleSet
  readonly examples: Int32Array
}

/** An example as the input of a training graph. */
export interface EncodedExample {
  readonly texts: readonly TokenSpan[]
  /** Index of the first token of each word, if words have labels. */
  readonly words?: Uint16Array
}

export const exampleCount = ({ tokens, textsPerExample }: ExampleSet): number => tokens.texts / textsPerExample

export const wholeSet = (set: ExampleSet): Subset => ({
  set,
  examples: Int32Array.from({ length: exampleCount(set) }, (_, i) => i),
})

/** Tokens of an example, in all its texts. */
export const tokenCount = ({ tokens, textsPerExample }: ExampleSet, example: number): number =>
  textsPerExample === 1 ? tokens.length(example) : tokens.length(2 * example) + tokens.length(2 * example + 1)

/** Tokens of the texts of an example. */
export const textsOf = ({ tokens, textsPerExample }: ExampleSet, example: number): readonly TokenSpan[] =>
  textsPerExample === 1 ? [tokens.span(example)] : [tokens.span(2 * example), tokens.span(2 * example + 1)]

export const encodedExamples = ({ set, examples }: Subset): readonly EncodedExample[] =>
  Array.from(examples, (example) => ({
    texts: textsOf(set, example),
    ...(set.words && { words: set.words.tokens(example) }),
  }))

/** Range of an example's targets in the set's targets; the end is exclusive. */
const labelRange = ({ words }: ExampleSet, example: number): { readonly start: number; readonly end: number } =>
  words ? words.range(example) : { start: example, end: example + 1 }

/** Index of the first target of each example of a subset, and the number of targets at the end: [examples + 1]. */
export function labelStarts({ set, examples }: Subset): Int32Array {
  const starts = new Int32Array(examples.length + 1)
  for (const [at, example] of examples.entries()) {
    const { start, end } = labelRange(set, example)
    starts[at + 1] = (starts[at] ?? 0) + end - start
  }
  return starts
}

/** Targets of a subset, [N, width]. */
export function targetsOf(subset: Subset): Float32Array {
  const { set, examples } = subset
  const { targets, width } = set
  const starts = labelStarts(subset)
  const picked = new Float32Array((starts[examples.length] ?? 0) * width)
  for (const [at, example] of examples.entries()) {
    const { start, end } = labelRange(set, example)
    picked.set(targets.subarray(start * width, end * width), (starts[at] ?? 0) * width)
  }
  return picked
}

/**
 * Returns the stratum of each example, for parts in which every label has its share: its label or, if it has several, the
 * rarest of them; −1 if it has none. Words and numbers have no strata.
 */
function strata({ targets, width }: ExampleSet, { problem }: LabelSpace): (example: number) => number {
  switch (problem) {
    case 'single_label_classification':
      return (example) => targets[example] ?? 0
    case 'multi_label_classification': {
      const counts = new Float64Array(width)
      for (const [at, applies] of targets.entries()) counts[at % width] = (counts[at % width] ?? 0) + applies
      return (example) => {
        let rarest = -1
        for (let label = 0; label < width; label++) {
          const isRarer = rarest < 0 || (counts[label] ?? 0) < (counts[rarest] ?? 0)
          if (targets[example * width + label] === 1 && isRarer) rarest = label
        }
        return rarest
      }
    }
    case 'regression':
    case 'token_classification':
    case 'feature_extraction':
      return () => 0
  }
}

/** The examples of each stratum, in the order of the subset. */
export function byStratum({ set, examples }: Subset, space: LabelSpace): Iterable<readonly number[]> {
  const stratum = strata(set, space)
  const groups = new Map<number, number[]>()
  for (const example of examples) {
    const key = stratum(example)
    const group = groups.get(key)
    if (group) group.push(example)
    else groups.set(key, [example])
  }
  return groups.values()
}

/**
 * Splits a set into a training part and a dev part. Every label of texts gets the same dev share, and keeps at least one
 * training example. If that is no example of any label, the most frequent labels give one each.
 */
export function split(
  set: ExampleSet,
  space: LabelSpace,
  devShare: number,
  random: Random,
): { train: Subset; dev: Subset } {
  const order = random.order(exampleCount(set))
  const shareOf = ({ length }: ArrayLike<number>) => Math.min(length - 1, Math.round(devShare * length))
  const groups = Array.from(byStratum({ set, examples: order }, space)).sort((a, b) => b.length - a.length)
  const isTooSmall = groups.every((group) => shareOf(group) === 0)
  const train: number[] = []
  const dev: number[] = []
  for (const [place, group] of groups.entries()) {
    const count = isTooSmall && place < shareOf(order) ? Math.min(group.length - 1, 1) : shareOf(group)
    for (const [at, example] of group.entries()) (at < count ? dev : train).push(example)
  }
  const subset = (examples: number[]): Subset => ({ set, examples: Int32Array.from(examples).sort() })
  return { train: subset(train), dev: subset(dev) }
}

/** Limits the time: computing the vectors of an example takes long. */
const maxVectorExamples = 20_000

/** Limits the memory: each word has a vector. */
const maxVectors = 100_000

/** Number of examples whose vectors stay within both limits. */
export function examplesWithinVectors(set: ExampleSet): number {
  const vectors = set.targets.length / set.width
  return Math.max(1, Math.min(maxVectorExamples, Math.floor((maxVectors * exampleCount(set)) / vectors)))
}

/** At most `maxExamples` examples of a subset, drawn at random. */
export function sample({ set, examples }: Subset, maxExamples: number, random: Random): Subset {
  if (examples.length <= maxExamples) return { set, examples }
  const picked = random.order(examples.length).subarray(0, maxExamples)
  return { set, examples: picked.map((at) => examples[at] ?? 0).sort() }
}

/** Number of training examples with the same tokens as a dev example. They make the dev score too high. */
export function countDuplicates(train: Subset, dev: Subset): number {
  // Dev examples with equal hashes form a linked list in two arrays, because the dev part may have millions.
  const lastWithHash = new Map<number, number>()
  const previous = new Int32Array(dev.examples.length)
  const textsAt = (at: number) => textsOf(dev.set, dev.examples[at] ?? 0)
  for (let at = 0; at < dev.examples.length; at++) {
    const hash = hashOf(textsAt(at))
    previous[at] = lastWithHash.get(hash) ?? -1
    lastWithHash.set(hash, at)
  }
  let count = 0
  for (const example of train.examples) {
    const texts = textsOf(train.set, example)
    let at = lastWithHash.get(hashOf(texts)) ?? -1
    while (at >= 0 && !sameTexts(texts, textsAt(at))) at = previous[at] ?? -1
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
