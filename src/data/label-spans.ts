// Reads labelled parts of a text, as annotation tools export them: arrays of [start, end, label], or objects.

import { codePointOffsets, withoutSpace } from '../formats/spans.js'
import type { Span } from '../formats/word-rule.js'
import { throwInvalidData } from './invalid-data.js'

/** A labelled part of a text: an entity. */
export interface LabelledSpan extends Span {
  readonly label: string
}

/** A span as the file gives it, before its offsets are understood. */
interface RawSpan {
  readonly start: number
  readonly end: number
  readonly label: string
  /** The labelled part, if the file repeats it. */
  readonly text?: string
}

/** Most spans of a text. */
const maxSpans = 100_000

/** The spans in a cell, or undefined if it has something else. An empty array has none. A cell of CSV has them as JSON. */
export function spansInCell(cell: unknown): readonly RawSpan[] | undefined {
  if (typeof cell !== 'string') return rawSpans(cell)
  if (!/^\s*\[\s*[[{]/.test(cell)) return undefined
  try {
    return rawSpans(JSON.parse(cell))
  } catch {
    return undefined
  }
}

function rawSpans(value: unknown): readonly RawSpan[] | undefined {
  if (!Array.isArray(value) || value.length > maxSpans) return undefined
  const spans = value.map(rawSpan)
  return spans.every((span) => span !== undefined) ? spans : undefined
}

function rawSpan(value: unknown): RawSpan | undefined {
  if (Array.isArray(value)) {
    // doccano writes [start, end, label], and Argilla [label, start, end].
    const [a, b, c] = value
    if (typeof a === 'number' && typeof b === 'number' && typeof c === 'string') return { start: a, end: b, label: c }
    if (typeof a === 'string' && typeof b === 'number' && typeof c === 'number') return { start: b, end: c, label: a }
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const fields = value as Record<string, unknown>
  const start = fields.start ?? fields.start_offset
  const end = fields.end ?? fields.end_offset
  const { labels, text } = fields
  const label = fields.label ?? (Array.isArray(labels) ? labels[0] : undefined)
  if (typeof start !== 'number' || typeof end !== 'number' || typeof label !== 'string') return undefined
  return { start, end, label, ...(typeof text === 'string' && { text }) }
}

/**
 * The spans of a text, sorted, without white space at their ends. Offsets count code points, as in Python; where a span
 * repeats its text, UTF-16 offsets are recognised. Of overlapping spans the longer one stays.
 * @param onWarning receives which spans are left out
 * @throws Problem `invalid_data` for offsets outside of the text
 */
export function spansOfText(
  raw: readonly RawSpan[],
  text: string,
  place: string,
  onWarning: (what: string) => void,
): readonly LabelledSpan[] {
  const toUtf16 = codePointOffsets(text)
  const spans = raw
    .map((span) => located(span, text, toUtf16, place))
    .map((span) => ({ ...span, ...withoutSpace(text, span) }))
    .filter(({ start, end }) => start < end)
  const kept: LabelledSpan[] = []
  for (const span of spans.sort((a, b) => a.start - b.start || b.end - a.end)) {
    const last = kept.at(-1)
    if (last === undefined || last.end <= span.start) kept.push(span)
    else {
      const [longer, shorter] = span.end - span.start > last.end - last.start ? [span, last] : [last, span]
      kept[kept.length - 1] = longer
      onWarning(
        `${place}: the ${shorter.label} ${quotedPart(text, shorter)} overlaps the ${longer.label} ` +
          `${quotedPart(text, longer)}; the shorter one is left out`,
      )
    }
  }
  return kept
}

function located(
  { start, end, label, text: part }: RawSpan,
  text: string,
  toUtf16: (offset: number) => number | undefined,
  place: string,
): LabelledSpan {
  const [from, to] = [toUtf16(start), toUtf16(end)]
  const isPart = (s: number, e: number) => part === undefined || withoutBreaks(text.slice(s, e)) === withoutBreaks(part)
  if (from !== undefined && to !== undefined && from < to && isPart(from, to)) return { start: from, end: to, label }
  if (part !== undefined && start < end && isPart(start, end)) return { start, end, label }
  return throwInvalidData(
    place,
    `the ${label} from ${start} to ${end} ` +
      (from === undefined || to === undefined || from >= to
        ? `is not a part of the text, which has ${[...text].length} characters`
        : `is ${quotedPart(text, { start: from, end: to })}, but the file says ${JSON.stringify(part)}`),
  )
}

/** Label Studio writes line breaks as two characters. */
const withoutBreaks = (text: string): string => text.replaceAll('\\n', ' ').replace(/\s+/g, ' ').trim()

const quotedPart = (text: string, { start, end }: Span): string =>
  JSON.stringify(text.slice(start, Math.min(end, start + 80)))
