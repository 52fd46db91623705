// Matches the labels of a data file with the words that a server returns for its text. These may be parts of the file's
// words. Training and evaluation count served words, so that a score is that of the served entities.

import type { Example } from '../data/examples.js'
import type { LabelSpace } from '../data/label-space.js'
import type { LabelledSpan } from '../data/label-spans.js'
import { tagsOf } from '../formats/iob.js'
import { schemeTag, toIob2 } from '../formats/tag-schemes.js'
import type { Span } from '../formats/word-rule.js'

/**
 * The example with a label for each served word. The first served word of a labelled word takes its label, and further
 * ones continue it: B-X becomes I-X. A labelled word or span without a served word stays, because its text was cut or the
 * tokenizer drops it. It counts as a wrong prediction.
 * @param served in the order of the text
 */
export function withServedWords(space: LabelSpace, example: Example, served: readonly Span[]): Example {
  const { words, spans, label } = example
  if (words === undefined && spans === undefined) return example
  const units = spans
    ? unitsOfSpans(spans, served)
    : [...unitsOfWords(words ?? [], inIob2(typeof label === 'object' ? label : [], typesOf(space.labels)), served)]
  const { spans: _, ...rest } = example
  return { ...rest, words: units, label: units.map((unit) => expressible(unit.label, space)) }
}

/** Spans whose ends are inside served words. The whole words get their labels. */
export function spansThatCutWords(
  { spans = [] }: Example,
  served: readonly Span[],
): readonly { readonly span: LabelledSpan; readonly word: Span }[] {
  const cuts = (span: Span, word: Span) =>
    (word.start < span.start && span.start < word.end) || (word.start < span.end && span.end < word.end)
  let at = 0
  return spans.flatMap((span) => {
    while (at < served.length && (served[at]?.end ?? 0) <= span.start) at++
    for (let i = at; i < served.length; i++) {
      const word = served[i]
      if (word === undefined || word.start >= span.end) break
      if (cuts(span, word)) return [{ span, word }]
    }
    return []
  })
}

interface Unit extends Span {
  readonly label: string
}

function* unitsOfWords(words: readonly Span[], labels: readonly string[], served: readonly Span[]): Generator<Unit> {
  let at = 0
  for (const [index, { start, end }] of words.entries()) {
    const label = labels[index] ?? ''
    while (at < served.length && (served[at]?.start ?? 0) < start) at++
    const first = at
    for (; at < served.length; at++) {
      const word = served[at]
      if (word === undefined || word.start >= end) break
      yield { start: word.start, end: word.end, label: at === first ? label : continued(label) }
    }
    if (at === first) yield { start, end, label }
  }
}

/** @param spans sorted, without overlaps */
function unitsOfSpans(spans: readonly LabelledSpan[], served: readonly Span[]): readonly Unit[] {
  const units: Unit[] = []
  let at = 0
  const outside = (until: number) => {
    for (; at < served.length; at++) {
      const word = served[at]
      if (word === undefined || word.end > until) break
      units.push({ start: word.start, end: word.end, label: 'O' })
    }
  }
  for (const span of spans) {
    outside(span.start)
    const first = at
    for (; at < served.length; at++) {
      const word = served[at]
      if (word === undefined || word.start >= span.end) break
      units.push({ start: word.start, end: word.end, label: `${at === first ? 'B' : 'I'}-${span.label}` })
    }
    const isInLastWord = (served[at - 1]?.end ?? 0) > span.start
    if (at === first && !isInLastWord) units.push({ start: span.start, end: span.end, label: `B-${span.label}` })
  }
  outside(Number.POSITIVE_INFINITY)
  return units
}

const continued = (label: string): string => label.replace(/^B-/, 'I-')

/** Task files of earlier versions may have no label I-X, if all entities of their data had one word. */
const expressible = (label: string, { labels }: LabelSpace): string => {
  const begin = label.replace(/^I-/, 'B-')
  return labels.includes(label) || !labels.includes(begin) ? label : begin
}

/** Labels of words in IOB2. Labels that are not tags of the given types stay as they are. */
function inIob2(labels: readonly string[], types: ReadonlySet<string> | undefined): readonly string[] {
  if (types === undefined) return labels
  const tags = labels.map((label) => schemeTag(label, types))
  const converted = toIob2(tags.map((tag) => (typeof tag === 'string' ? undefined : tag)))
  return tags.map((tag, at) => (typeof tag === 'string' ? tag : (converted[at] ?? 'O')))
}

const knownTypes = new WeakMap<readonly string[], { readonly types: ReadonlySet<string> | undefined }>()

/** The types of entities of a task; undefined if its labels mark none. */
function typesOf(labels: readonly string[]): ReadonlySet<string> | undefined {
  const known = knownTypes.get(labels)
  if (known) return known.types
  const tags = tagsOf(labels)
  const types = tags && new Set(tags.flatMap((tag) => tag?.type ?? []))
  knownTypes.set(labels, { types })
  return types
}
