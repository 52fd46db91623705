// Splits the lines of a CSV or TSV file into rows of fields. Quoting is judged field by field, because files without quoting
// have quotes in their texts: a field is quoted only if a closing quote ends it, on its line or on a later one.

import { maxRowLength } from './data-file.js'

export interface ParsedRow {
  /** The number of its first line, from 1. */
  readonly line: number
  readonly fields: readonly string[]
}

/** A quoted field that continues on the next line. */
interface OpenField {
  /** The lines of the row so far, for the case that the quote turns out to be part of the text. */
  readonly lines: string[]
  readonly firstLine: number
  /** Index of the opening quote in the first line. */
  readonly quote: number
  /** Fields before the open one. */
  readonly fields: string[]
  /** Content so far, with escaped quotes. */
  readonly content: string[]
  length: number
}

/** Limits how far the end of a quoted field is looked for. */
const maxQuotedLines = 10_000

/** Receives quoted fields over several lines that may be an error of the file. */
export type OnQuote = (line: number, what: string) => void

export class RowParser {
  #open: OpenField | undefined
  #lines = 0

  constructor(
    readonly delimiter: string,
    readonly onQuote: OnQuote = () => {},
  ) {}

  /** Adds a line. @returns the rows that it completes */
  add(line: string): readonly ParsedRow[] {
    const number = ++this.#lines
    if (this.#open === undefined && !line.includes('"'))
      return line === '' ? [] : [{ line: number, fields: line.split(this.delimiter) }]
    return this.#addAll([line], number)
  }

  /** @returns the rows that the end of the file completes */
  end(): readonly ParsedRow[] {
    if (this.#open === undefined) return []
    const { firstLine } = this.#open
    this.onQuote(firstLine, 'a quote opens a field and is not closed; it is read as part of the text')
    const rows: ParsedRow[] = []
    while (this.#open) rows.push(...this.#readLiterally(this.#open))
    return rows
  }

  #addAll(lines: readonly string[], first: number): ParsedRow[] {
    const rows: ParsedRow[] = []
    for (const [at, line] of lines.entries()) {
      const open = this.#open
      if (open) rows.push(...this.#continue(open, line))
      else if (line !== '') rows.push(...this.#begin(line, first + at))
    }
    return rows
  }

  /** @param literal index of a quote that is part of the text */
  #begin(line: string, number: number, literal?: number): ParsedRow[] {
    const fields: string[] = []
    let at = 0
    while (at <= line.length) {
      const quote = this.#openingQuote(line, at)
      const closed = quote === undefined || quote === literal ? 'no' : this.#closingQuote(line, quote + 1)
      if (quote !== undefined && typeof closed === 'object') {
        fields.push(unescaped(line.slice(quote + 1, closed.quote)))
        at = closed.next
      } else if (quote !== undefined && closed === 'open' && !this.#swallowsFields(line.slice(quote + 1))) {
        const content = [line.slice(quote + 1)]
        this.#open = { lines: [line], firstLine: number, quote, fields, content, length: line.length }
        return []
      } else at = this.#pushLiteral(line, at, fields)
    }
    return [{ line: number, fields }]
  }

  #pushLiteral(line: string, at: number, fields: string[]): number {
    const end = line.indexOf(this.delimiter, at)
    fields.push(line.slice(at, end < 0 ? undefined : end))
    return end < 0 ? line.length + 1 : end + this.delimiter.length
  }

  #continue(open: OpenField, line: string): ParsedRow[] {
    const closed = this.#closingQuote(line, 0)
    open.lines.push(line)
    open.length += line.length
    const before = typeof closed === 'object' ? line.slice(0, closed.quote) : line
    if (
      closed === 'no' ||
      this.#swallowsFields(before) ||
      open.lines.length > maxQuotedLines ||
      open.length > maxRowLength
    )
      return this.#readLiterally(open)
    open.content.push(before)
    if (closed === 'open') return []
    this.#open = undefined
    const { fields, firstLine, lines } = open
    fields.push(unescaped(open.content.join('\n')))
    const all = fields.length + (closed.next > line.length ? 0 : line.slice(closed.next).split(this.delimiter).length)
    if (lines.every((text) => text.split(this.delimiter).length === all))
      this.onQuote(
        firstLine,
        `the quotes of a field enclose ${lines.length} lines, and each line looks like a row; ` +
          'if the quotes are part of the texts, double them and enclose the texts in quotes',
      )
    if (closed.next > line.length) return [{ line: firstLine, fields }]
    // The rest of the line has more fields. One of them may be open again.
    const rest = this.#begin(line.slice(closed.next), firstLine)
    const reopened = this.#open as OpenField | undefined
    if (reopened) {
      const { quote, length } = open
      this.#open = { ...reopened, lines, fields: [...fields, ...reopened.fields], quote, length }
      return []
    }
    return rest.map((row) => ({ line: firstLine, fields: [...fields, ...row.fields] }))
  }

  /** Whether a quote of a file without quoting made fields part of a text. Texts with line breaks have no tabs in practice. */
  #swallowsFields(content: string): boolean {
    return this.delimiter === '\t' && content.includes('\t')
  }

  /** Reads the first line of an open row with its quote as part of the text, and the other lines as rows of their own. */
  #readLiterally({ lines: [first = '', ...others], firstLine, quote }: OpenField): ParsedRow[] {
    this.#open = undefined
    return [...this.#begin(first, firstLine, quote), ...this.#addAll(others, firstLine + 1)]
  }

  /** The index of the quote that a field begins with. Spaces may be before it. */
  #openingQuote(line: string, at: number): number | undefined {
    let first = at
    while (line[first] === ' ') first++
    return line[first] === '"' ? first : undefined
  }

  /**
   * Looks for the quote that ends a field. Doubled quotes and quotes after a backslash are part of its content, and so are
   * quotes amid the text, which some programs do not double.
   * @returns where the quote and the next field are; 'open' if the field may end on a later line; 'no' if it cannot
   */
  #closingQuote(line: string, from: number): { readonly quote: number; readonly next: number } | 'open' | 'no' {
    let isAmid = false
    let hasBackslashes = false
    for (let quote = line.indexOf('"', from); quote >= 0; quote = line.indexOf('"', quote + 1)) {
      if (line[quote + 1] === '"' && !(line[quote - 1] === '\\' && this.#fieldEnd(line, quote + 2) !== undefined)) {
        quote++
        continue
      }
      const isEscaped = line[quote - 1] === '\\'
      const next = isEscaped && hasBackslashes ? undefined : this.#fieldEnd(line, quote + 1)
      if (next !== undefined) return { quote, next }
      if (isEscaped) hasBackslashes = true
      else isAmid = true
    }
    return isAmid ? 'no' : 'open'
  }

  /** The index of the next field if the field ends at `at`, apart from spaces. */
  #fieldEnd(line: string, at: number): number | undefined {
    let end = at
    while (line[end] === ' ') end++
    if (end >= line.length) return line.length + 1
    return line.startsWith(this.delimiter, end) ? end + this.delimiter.length : undefined
  }
}

const unescaped = (content: string): string =>
  content.includes('\\"') ? content.replaceAll(/\\"|""/g, '"') : content.replaceAll('""', '"')
