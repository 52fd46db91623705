// Reads rows whose fields are separated by a character: CSV and TSV of any common dialect. The first row names the columns.
// The delimiter is found from the beginning of the file.

import { type DataFile, encodingNames, lineBatches, textOf } from '../data-file.js'
import { throwInvalidData } from '../invalid-data.js'
import { type ParsedRow, RowParser } from '../row-parser.js'
import type { FileRow, RowReader, RowSource, RowsOptions } from '../row-reader.js'

export const separatedReader: RowReader = {
  extensions: ['.csv', '.tsv', '.tab', '.txt'],
  recognises: ({ text }) => text !== undefined,
  open: openSeparated,
}

interface Dialect {
  readonly delimiter: string
  /** Whether the first line names the separator, as in "sep=;". */
  readonly hasSeparatorLine: boolean
}

const delimiterNames = new Map([
  [',', 'commas'],
  ['\t', 'tabs'],
  [';', 'semicolons'],
  ['|', 'vertical bars'],
])

async function openSeparated(file: DataFile): Promise<RowSource> {
  const { path } = file
  const { encoding, carriageReturns } = textOf(file)
  const dialect = dialectOf(file)
  const { delimiter, hasSeparatorLine } = dialect
  let header: readonly string[] | undefined
  for await (const { fields } of parsedRows(file, dialect)) {
    header = fields.map((name) => name.trim())
    break
  }
  if (header === undefined || header.every((name) => name === ''))
    return throwInvalidData(path, 'the file has no first line with column names')
  const columns = header
  const format = [
    `text separated by ${delimiterNames.get(delimiter) ?? JSON.stringify(delimiter)}`,
    ...(hasSeparatorLine ? ['as its first line says'] : []),
    encodingNames[encoding],
    ...(carriageReturns ? ['lines that end with carriage returns'] : []),
  ].join(', ')
  return { format, columns, rows: (options) => separatedRows(file, dialect, columns, options) }
}

/** Rows of the file with the header. */
async function* parsedRows(
  file: DataFile,
  { delimiter, hasSeparatorLine }: Dialect,
  onQuote?: (line: number, what: string) => void,
): AsyncGenerator<ParsedRow> {
  const parser = new RowParser(delimiter, onQuote)
  for await (const batch of lineBatches(file))
    for (const line of batch) for (const row of parser.add(line)) if (!(hasSeparatorLine && row.line === 1)) yield row
  yield* parser.end()
}

const maxWarnings = 3

async function* separatedRows(
  file: DataFile,
  dialect: Dialect,
  columns: readonly string[],
  { onWarning }: RowsOptions,
): AsyncGenerator<FileRow> {
  const { path } = file
  let warnings = 0
  const onQuote = (line: number, what: string) => {
    if (warnings++ < maxWarnings) onWarning(`${path}:${line}: ${what}`)
  }
  let isHeader = true
  for await (const { line, fields } of parsedRows(file, dialect, onQuote)) {
    if (isHeader) {
      isHeader = false
      continue
    }
    const place = `${path}:${line}`
    const values: Record<string, string> = {}
    // Not ??=, because objects inherit names such as "constructor".
    for (const [at, name] of columns.slice(0, fields.length).entries())
      if (!Object.hasOwn(values, name)) values[name] = fields[at] ?? ''
    for (let at = columns.length; at < fields.length; at++)
      if (fields[at]?.trim())
        throwInvalidData(
          place,
          `the row has ${fields.length} fields, but the header has ${columns.length} columns; ` +
            `a text with ${delimiterNames.get(dialect.delimiter) ?? 'the separator'} in it must be in double quotes`,
        )
    yield { place, values }
  }
}

const maxSampleRows = 500

/**
 * The delimiter is the one that gives most rows as many fields as the header. If several do equally well, that of the
 * extension is preferred.
 */
function dialectOf(file: DataFile): Dialect {
  const { start, whole, carriageReturns } = textOf(file)
  const lines = start.split(carriageReturns ? '\r' : /\r?\n/)
  if (!whole) lines.pop()
  const named = /^\ufeff?"?sep=(.)"?[,;\t|]*$/i.exec(lines[0] ?? '')?.[1]
  if (named !== undefined) return { delimiter: named, hasSeparatorLine: true }
  const usual = /\.(tsv|tab)$/i.test(file.path) ? '\t' : ','
  const candidates = [usual, ...[...delimiterNames.keys()].filter((delimiter) => delimiter !== usual)]
  let best = { delimiter: usual, score: 0 }
  for (const delimiter of candidates) {
    const score = consistency(lines, delimiter)
    if (score > best.score + 0.02) best = { delimiter, score }
  }
  return { delimiter: best.delimiter, hasSeparatorLine: false }
}

/** The share of rows that have as many fields as the header; 0 if the header has a single field. */
function consistency(lines: readonly string[], delimiter: string): number {
  const parser = new RowParser(delimiter)
  let header: number | undefined
  let rows = 0
  let same = 0
  for (const line of lines) {
    for (const { fields } of parser.add(line)) {
      header ??= fields.length
      rows++
      if (fields.length === header) same++
    }
    if (rows >= maxSampleRows) break
  }
  return header === undefined || header < 2 ? 0 : same / rows
}
