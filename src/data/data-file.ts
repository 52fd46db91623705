// A data file on disk: its beginning, by which its format is recognised, and its text in chunks or lines. The encoding is
// UTF-8 or UTF-16. Memory is bounded, however long the file or a line is.

import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { Problem } from '../problem.js'
import { throwInvalidData, throwUnreadable } from './invalid-data.js'

type Encoding = 'utf-8' | 'utf-16le' | 'utf-16be'

export interface DataFile {
  readonly path: string
  /** Size in bytes. */
  readonly bytes: number
  /** The first bytes of the file. */
  readonly head: Uint8Array
  /** Undefined if the file is not text. */
  readonly text?: TextHead
}

/** What the beginning of a text file tells. */
export interface TextHead {
  readonly encoding: Encoding
  /** The beginning of the text. The last line is complete if the whole file is. */
  readonly start: string
  /** Whether `start` is the whole text. */
  readonly whole: boolean
  /** Whether lines end with a carriage return alone, as in files of old Macintosh programs. */
  readonly carriageReturns: boolean
}

/** Enough for some hundred rows of usual length. */
const headBytes = 1 << 18

/** Limits the memory for a row, in UTF-16 code units. */
export const maxRowLength = 16 * 1024 * 1024

/** @throws Problem `unreadable_file` */
export async function openDataFile(path: string): Promise<DataFile> {
  try {
    // Opening a pipe would wait for its writer.
    const found = await stat(path)
    if (found.isDirectory()) throwUnreadable(path, { code: 'EISDIR', message: 'it is a directory' })
    if (!found.isFile())
      throw new Problem('unreadable_file', `${path} is a pipe or a device; expected a file, because it is read twice`)
    const handle = await open(path)
    try {
      const bytes = found.size
      const buffer = Buffer.alloc(Math.min(headBytes, bytes))
      const { bytesRead } = await handle.read(buffer, 0, buffer.byteLength, 0)
      const head = buffer.subarray(0, bytesRead)
      const text = textHead(head, bytesRead === bytes)
      return { path, bytes, head, ...(text && { text }) }
    } finally {
      await handle.close()
    }
  } catch (error) {
    return throwReadError(path, error)
  }
}

function throwReadError(path: string, error: unknown): never {
  if (error instanceof Problem || !(error as NodeJS.ErrnoException).code) throw error
  throwUnreadable(path, error as NodeJS.ErrnoException)
}

/** The beginnings of files that people take for text, or that have a text extension by mistake. */
const signatures: readonly (readonly [start: string, what: string])[] = [
  [
    'PK\x03\x04',
    'a ZIP archive or an Excel file. Save the sheet as CSV with the encoding UTF-8, or unpack the archive',
  ],
  ['\xd0\xcf\x11\xe0', 'an old Excel or Word file. Save the sheet as CSV with the encoding UTF-8'],
  ['\x1f\x8b', 'compressed with gzip. Decompress it first'],
  ['\x28\xb5\x2f\xfd', 'compressed with Zstandard. Decompress it first'],
  ['PAR1', 'a Parquet file. Give it the extension .parquet'],
  ['ARROW1', 'an Arrow file. Convert it to Parquet'],
  ['SQLite format 3', 'an SQLite database. Export the table as CSV'],
  ['%PDF', 'a PDF document'],
]

/** @param start its code units are bytes */
export const startsWith = (head: Uint8Array, start: string): boolean =>
  head.length >= start.length && [...start].every((character, at) => head[at] === character.charCodeAt(0))

function textHead(head: Uint8Array, whole: boolean): TextHead | undefined {
  if (signatures.some(([start]) => startsWith(head, start))) return undefined
  const encoding = encodingOf(head)
  if (encoding === undefined) return undefined
  const start = new TextDecoder(encoding).decode(head, { stream: !whole })
  return { encoding, start, whole, carriageReturns: start.includes('\r') && !start.includes('\n') }
}

/** By the byte order mark or, without one, by the zero bytes that UTF-16 has in every second place of most texts. */
function encodingOf(head: Uint8Array): Encoding | undefined {
  if (startsWith(head, '\xff\xfe')) return 'utf-16le'
  if (startsWith(head, '\xfe\xff')) return 'utf-16be'
  const zeros = [0, 0]
  for (const [at, byte] of head.entries()) if (byte === 0) zeros[at % 2] = (zeros[at % 2] ?? 0) + 1
  const [even = 0, odd = 0] = zeros
  if (even + odd === 0) return 'utf-8'
  const many = head.length * 0.2
  if (odd > many && even < odd / 100) return 'utf-16le'
  if (even > many && odd < even / 100) return 'utf-16be'
  return undefined
}

/** The beginning of a text file. @throws Problem `invalid_data` if the file is not text */
export function textOf({ path, head, text }: DataFile): TextHead {
  if (text) return text
  const known = signatures.find(([start]) => startsWith(head, start))
  if (known) return throwInvalidData(path, `this is not a text file but ${known[1]}`)
  const zero = head.indexOf(0)
  const line = head.subarray(0, zero).reduce((lines, byte) => lines + (byte === 10 ? 1 : 0), 1)
  return throwInvalidData(
    `${path}:${line}`,
    `the file has a zero byte at byte ${zero + 1}; expected text with the encoding UTF-8 or UTF-16`,
  )
}

/** For reports. */
export const encodingNames: Readonly<Record<Encoding, string>> = {
  'utf-8': 'UTF-8',
  'utf-16le': 'UTF-16 LE',
  'utf-16be': 'UTF-16 BE',
}

/**
 * The text of a file in pieces, without the byte order mark.
 * @throws Problem `unreadable_file`; `invalid_data` for text in another encoding
 */
export async function* textPieces(file: DataFile): AsyncGenerator<string> {
  const { path } = file
  const { encoding, carriageReturns } = textOf(file)
  const end = carriageReturns ? '\r' : '\n'
  const decoder = new TextDecoder(encoding, { fatal: true })
  // Where the next piece begins.
  let line = 1
  let column = 1
  const throwBadText = (before: string, what: string): never => {
    const parts = before.split(end)
    const at = (parts.length === 1 ? column : 1) + (parts.at(-1)?.length ?? 0)
    return throwInvalidData(`${path}:${line + parts.length - 1}`, `column ${at} of the line ${what}`)
  }
  const checked = (text: string): string => {
    const zero = text.indexOf('\0')
    if (zero >= 0) throwBadText(text.slice(0, zero), 'has a zero byte; expected text')
    for (let at = text.indexOf(end); at >= 0; at = text.indexOf(end, at + 1)) line++
    const last = text.lastIndexOf(end)
    column = last < 0 ? column + text.length : text.length - last
    return text
  }
  try {
    for await (const bytes of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
      let text: string
      try {
        text = decoder.decode(bytes, { stream: true })
      } catch {
        const before = new TextDecoder(encoding).decode(bytes).split('\ufffd', 1)[0] ?? ''
        return throwBadText(before, `is not ${encodingNames[encoding]}; ${encodingAdvice(path)}`)
      }
      yield checked(text)
    }
  } catch (error) {
    throwReadError(path, error)
  }
  try {
    yield checked(decoder.decode())
  } catch (error) {
    if (error instanceof Problem) throw error
    throwBadText('', `is not ${encodingNames[encoding]}: the file ends within a character`)
  }
}

const encodingAdvice = (path: string): string =>
  `save the file with the encoding UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 ${JSON.stringify(path)}`

/**
 * The lines of a text file in batches, without line ends. A line ends with a line feed, with or without a carriage return
 * before it, or with a carriage return if the file has no line feed.
 * @throws Problem `unreadable_file`; `invalid_data` for text in another encoding and for a line that is too long
 */
export async function* lineBatches(file: DataFile): AsyncGenerator<readonly string[]> {
  const { path } = file
  const { carriageReturns } = textOf(file)
  let rest = ''
  let lines = 0
  for await (const text of textPieces(file)) {
    const found = (rest + text).split(carriageReturns ? '\r' : '\n')
    rest = found.pop() ?? ''
    lines += found.length
    if (rest.length > maxRowLength)
      throwInvalidData(
        `${path}:${lines + 1}`,
        `the line is longer than ${maxRowLength} characters, the limit for a row`,
      )
    yield carriageReturns ? found : found.map(withoutCarriageReturn)
  }
  if (rest !== '') yield [withoutCarriageReturn(rest)]
}

const withoutCarriageReturn = (line: string): string => (line.endsWith('\r') ? line.slice(0, -1) : line)

/** A part of a text file. */
export interface PlacedText {
  /** `file:line`, or more for a part that is not a line */
  readonly place: string
  readonly text: string
}

/** The lines of a text file that are not blank. */
export async function* textLines(file: DataFile): AsyncGenerator<PlacedText> {
  let line = 0
  for await (const batch of lineBatches(file))
    for (const text of batch) {
      line++
      if (text.trim() !== '') yield { place: `${file.path}:${line}`, text }
    }
}
