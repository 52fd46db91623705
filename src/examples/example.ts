// An example of a task as it is stored, and as a line of JSON Lines that data/examples.ts reads back as the same example.

import { createHash } from 'node:crypto'
import type { Example } from '../data/examples.js'
import type { LabelledSpan } from '../data/label-spans.js'

/** What a version predicted for the text of an example. */
export interface StoredPrediction {
  readonly label: string | number | readonly string[]
  readonly score?: number
  /** Digest of the version. */
  readonly version?: string
}

/** What is labelled: a text, two texts, or words. */
export interface ExampleText {
  readonly text?: string
  readonly textPair?: string
  /** Words with a label each, instead of `text`. */
  readonly tokens?: readonly string[]
}

export interface NewExample extends ExampleText {
  /** A class, a number, the classes that apply, or the label of each word. */
  readonly label: string | number | readonly string[]
  /** The labelled parts of the text. `label` is empty then. */
  readonly spans?: readonly LabelledSpan[]
  readonly source: 'upload' | 'feedback'
  /** Who sent it, as in the audit log. */
  readonly by?: string
  readonly predicted?: StoredPrediction
}

export interface StoredExample extends NewExample {
  readonly id: string
  /** Milliseconds of the epoch. */
  readonly created: number
  readonly updated: number
}

const idLength = 20
export const exampleIdPattern = `^[0-9a-f]{${idLength}}$`

/** Equal for equal texts, and random in order: the first examples by id are an unbiased sample. */
export function exampleId({ text = '', textPair, tokens }: ExampleText): string {
  const hash = createHash('sha256')
  // JSON, so that no two texts have the same bytes.
  if (tokens) hash.update(JSON.stringify({ tokens }))
  else hash.update(textPair === undefined ? JSON.stringify(text) : JSON.stringify([text, textPair]))
  return hash.digest('hex').slice(0, idLength)
}

/** The example of a row of a data file. */
export function exampleOf(
  { text, textPair, label, words, spans }: Example,
  from: Pick<NewExample, 'source' | 'by'>,
): NewExample {
  if (words) return { tokens: words.map(({ start, end }) => text.slice(start, end)), label: listOf(label), ...from }
  return {
    text,
    ...(textPair !== undefined && { textPair }),
    // Negative zero has no JSON.
    label: label === 0 ? 0 : label,
    ...(spans && spans.length > 0 && { spans }),
    ...from,
  }
}

const listOf = (label: Example['label']): readonly string[] => (typeof label === 'object' ? label : [String(label)])

/** Labels of an example for counts and filters, each once. */
export function labelsOf({ label, spans }: Pick<NewExample, 'label' | 'spans'>): readonly string[] {
  if (spans) return [...new Set(spans.map((span) => span.label))]
  return typeof label === 'object' ? [...new Set(label)] : [String(label)]
}

/** A line of JSON Lines without the line end. Numbers stay numbers, and digits that a double cannot hold stay text. */
export function exampleLine({ text = '', textPair, tokens, label, spans }: NewExample): string {
  const pair = textPair === undefined ? '' : `,"text_pair":${JSON.stringify(textPair)}`
  return `{"text":${JSON.stringify(tokens ?? text)}${pair},"label":${spans ? spansJson(text, spans) : labelJson(label)}}`
}

/** The exponent says that the number is a double: without one, many digits are read as text. */
const labelJson = (label: NewExample['label']): string =>
  typeof label === 'number' && Number.isInteger(label) && !Number.isSafeInteger(label)
    ? label.toExponential()
    : JSON.stringify(label)

/** Data files count code points. */
function spansJson(text: string, spans: readonly LabelledSpan[]): string {
  return JSON.stringify(inCodePoints(text, spans))
}

/** Spans with offsets that count code points, in the order in which they are given. */
export function inCodePoints(text: string, spans: readonly LabelledSpan[]): readonly LabelledSpan[] {
  const sorted = [...new Set(spans.flatMap(({ start, end }) => [start, end]))].sort((a, b) => a - b)
  const offsets = new Map<number, number>()
  let [at, codePoints] = [0, 0]
  for (const offset of sorted) {
    for (; at < offset; codePoints++) at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1
    offsets.set(offset, codePoints)
  }
  return spans.map(({ start, end, label }) => ({
    start: offsets.get(start) ?? start,
    end: offsets.get(end) ?? end,
    label,
  }))
}
