// Reads the rows of a data file (JSON lines, CSV or TSV) as values by column name. It streams the file.

import { constants, createReadStream } from 'node:fs'
import { access } from 'node:fs/promises'
import { extname } from 'node:path'
import { Readable } from 'node:stream'
import { CsvError, parse as csvParser, type Info, type Options } from 'csv-parse'
import { Problem } from '../problem.js'
import { throwInvalidData, throwUnreadable } from './invalid-data.js'

export interface FileRow {
  /** `file:line` */
  readonly place: string
  /** By column name. Values of CSV and TSV are strings. */
  readonly values: Readonly<Record<string, unknown>>
}

const readers: Readonly<Record<string, (path: string) => AsyncGenerator<FileRow>>> = {
  '.jsonl': jsonRows,
  '.ndjson': jsonRows,
  '.csv': (path) => separatedRows(path, ','),
  '.tsv': (path) => separatedRows(path, '\t'),
}

/** Whether the extension of a file name is that of a data file. */
export const isDataFileName = (path: string): boolean => Object.hasOwn(readers, extname(path).toLowerCase())

/**
 * Checks the name of a data file and that the file exists, before a command does anything slow.
 * @throws Problem `invalid_data`, `unreadable_file`
 */
export async function checkDataFile(path: string): Promise<void> {
  readFileRows(path)
  await access(path, constants.R_OK).catch((error: NodeJS.ErrnoException) => throwUnreadable(path, error))
}

/**
 * Reads a file in the format of its file name extension.
 * @throws Problem `unreadable_file` or `invalid_data` that names file and line
 */
export function readFileRows(path: string): AsyncGenerator<FileRow> {
  const read = readers[extname(path).toLowerCase()]
  if (read) return read(path)
  const advice = adviceByExtension[extname(path).toLowerCase()]
  return throwInvalidData(
    path,
    `expected a data file that ends in ${Object.keys(readers).join(', ')}${advice ? `. ${advice}` : ''}`,
  )
}

const spreadsheetAdvice = 'Save the sheet of a spreadsheet as CSV with the encoding UTF-8.'
const adviceByExtension: Readonly<Record<string, string>> = {
  '.xlsx': spreadsheetAdvice,
  '.xls': spreadsheetAdvice,
  '.ods': spreadsheetAdvice,
  '.json': 'Write one JSON object per line to a .jsonl file.',
  '.safetensors': 'This file looks like a task file; give the data file in its place.',
}

async function* jsonRows(path: string): AsyncGenerator<FileRow> {
  for await (const { place, text } of readLines(path))
    if (text.trim() !== '') yield { place, values: parseObject(text, place) }
}

/** The first line names the columns. Quoted fields may contain separators, quotes and line breaks (RFC 4180). */
async function* separatedRows(path: string, delimiter: string): AsyncGenerator<FileRow> {
  const options: Options = {
    delimiter,
    record_delimiter: '\n',
    columns: (header: string[]) => checkHeader(header, `${path}:1`),
    info: true,
    skip_empty_lines: true,
    max_record_size: maxRowBytes,
  }
  const parser = csvParser(options)
  const source = Readable.from(linesOfText(path))
  source.once('error', (error) => parser.destroy(error))
  source.pipe(parser)
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: Record<string, string>; info: Info }>)
      yield { place: `${path}:${info.lines}`, values: record }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error
    const line = typeof error.lines === 'number' ? error.lines : '?'
    throwInvalidData(`${path}:${line}`, error.message)
  } finally {
    source.destroy()
  }
}

/** Bounds the memory that an unclosed quote or a file without line breaks takes. */
const maxRowBytes = 16 * 1024 * 1024

function checkHeader(header: string[], place: string): string[] {
  const twice = header.find((column, at) => header.indexOf(column) !== at)
  return twice === undefined ? header : throwInvalidData(place, `column "${twice}" occurs twice`)
}

/** Lines with uniform line endings. */
async function* linesOfText(path: string): AsyncGenerator<string> {
  for await (const { text } of readLines(path)) yield `${text.replace(/\r$/, '')}\n`
}

async function* readLines(path: string): AsyncGenerator<{ readonly place: string; readonly text: string }> {
  let line = 0
  for await (const bytes of splitLines(path)) {
    const place = `${path}:${++line}`
    yield { place, text: decode(bytes, place) }
  }
}

async function* splitLines(path: string): AsyncGenerator<Uint8Array> {
  let rest: Buffer = Buffer.alloc(0)
  let lines = 0
  const stream = createReadStream(path, { highWaterMark: 1 << 20 })
  try {
    for await (const piece of stream) {
      const bytes: Buffer = rest.byteLength === 0 ? piece : Buffer.concat([rest, piece])
      let start = 0
      for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
        yield bytes.subarray(start, end)
        start = end + 1
        lines++
      }
      rest = bytes.subarray(start)
      if (rest.byteLength > maxRowBytes)
        throwInvalidData(`${path}:${lines + 1}`, `the line is longer than ${maxRowBytes} bytes, the limit for a row`)
    }
  } catch (error) {
    if (error instanceof Problem || !(error as NodeJS.ErrnoException).code) throw error
    throwUnreadable(path, error as NodeJS.ErrnoException)
  }
  if (rest.byteLength > 0) yield rest
}

const utf8 = new TextDecoder('utf-8', { fatal: true })
const lenient = new TextDecoder('utf-8')
/** The first bytes of a ZIP archive. Spreadsheets are such archives. */
const zipSignature = 'PK\u0003\u0004'

function decode(bytes: Uint8Array, place: string): string {
  try {
    return utf8.decode(bytes)
  } catch {
    const text = lenient.decode(bytes)
    if (text.startsWith(zipSignature))
      return throwInvalidData(place, `this is a ZIP archive or an Excel file, not text. ${spreadsheetAdvice}`)
    return throwInvalidData(
      place,
      `not UTF-8 at column ${text.indexOf('\ufffd') + 1}; save the file with the encoding UTF-8`,
    )
  }
}

function parseObject(text: string, place: string): Record<string, unknown> {
  let row: unknown
  try {
    row = JSON.parse(text)
  } catch (error) {
    return throwInvalidData(place, `not JSON: ${(error as Error).message}`)
  }
  if (typeof row === 'object' && row !== null && !Array.isArray(row)) return row as Record<string, unknown>
  return throwInvalidData(place, 'expected a JSON object')
}
