// Reads labelled examples from a data file, one at a time. Errors name the file, the line and the column.

import type { Text } from '../backbones/tokenizer.js'
import { flagOf } from '../settings.js'
import { throwInvalidData } from './invalid-data.js'
import type { FileRow } from './row-reader.js'
import { openRows } from './rows.js'

/** The names of the columns, and how their values are read. */
export interface Columns {
  readonly text: string
  /** Read from rows that have it; required in every row if `pairs`. */
  readonly textPair: string
  readonly pairs: boolean
  readonly label: string
  /** Whether text and label are lists of words with a label each: in all rows, in none, or where the text is an array. */
  readonly tagged: boolean | 'arrays'
  /** Whether a label that is a string is a list of labels, separated by commas. The empty string is an empty list. */
  readonly listed: boolean
}

export const defaultColumns: Columns = {
  text: 'text',
  textPair: 'text_pair',
  pairs: false,
  label: 'label',
  tagged: 'arrays',
  listed: false,
}

/** A class, a number, the set of classes that apply, or the class of each word. */
export type Label = string | number | readonly string[]

/** Position of a word in its text: UTF-16 offsets, the end exclusive. */
export interface WordSpan {
  readonly start: number
  readonly end: number
}

export interface Example extends Text {
  /** `file:line` */
  readonly place: string
  readonly label: Label
  /** The words of the text, if each has a label: as many as `label` has. */
  readonly words?: readonly WordSpan[]
}

/** Receives from time to time how many rows of a file have been read. */
export type OnReading = (path: string, rows: number) => void

const rowsPerReport = 512

/** Warnings about single rows without text; further rows are counted in one warning. */
const maxSingleWarnings = 5

/**
 * Reads a file of labelled examples. It skips rows without text, because they cannot be used for training.
 * @param onWarning receives which rows were skipped, and why
 * @param onReading receives the number of rows read so far
 * @throws Problem `unreadable_file` or `invalid_data`
 */
export async function* readExamples(
  path: string,
  columns: Columns,
  onWarning: (what: string) => void = () => {},
  onReading: OnReading = () => {},
): AsyncGenerator<Example> {
  let rows = 0
  let skipped = 0
  const source = await openRows(path)
  for await (const row of source.rows({ onWarning })) {
    if (++rows % rowsPerReport === 0) onReading(path, rows)
    const example = readExample(row, columns)
    const blank = blankColumn(example, columns)
    if (blank === undefined) yield example
    else if (skipped++ < maxSingleWarnings)
      onWarning(`${row.place}: column "${blank}" is empty or blank; the row is skipped`)
  }
  if (skipped > maxSingleWarnings)
    onWarning(`${path}: ${skipped - maxSingleWarnings} more rows without text are skipped`)
}

function readExample(row: FileRow, columns: Columns): Example {
  const { place, values } = row
  const { tagged } = columns
  if (tagged === true || (tagged === 'arrays' && Array.isArray(values[columns.text])))
    return readTaggedExample(row, columns)
  const text = readText(row, columns, 'text')
  const textPair = columns.pairs || values[columns.textPair] != null ? readText(row, columns, 'textPair') : undefined
  return { place, text, ...(textPair !== undefined && { textPair }), label: readLabel(row, columns) }
}

/** Words and their labels: two arrays of equal length, or two strings with as many parts between white space. */
function readTaggedExample(row: FileRow, columns: Columns): Example {
  const { place, values } = row
  if (columns.pairs || values[columns.textPair] != null)
    throwInvalidData(place, `column "${columns.textPair}" has a second text; labelled words must belong to one text`)
  const { text, words } = readWords(row, columns)
  const label = readWordLabels(row, columns)
  if (label.length !== words.length)
    throwInvalidData(
      place,
      `column "${columns.label}" has ${label.length} labels, but column "${columns.text}" has ${words.length} words`,
    )
  return { place, text, label, words }
}

/** The words of an array are joined by single spaces. */
function readWords(row: FileRow, columns: Columns): { text: string; words: WordSpan[] } {
  const { place } = row
  const column = columns.text
  const value = readCell(row, columns, 'text')
  if (typeof value === 'string')
    return {
      text: value,
      words: Array.from(value.matchAll(/\S+/g), ({ 0: word, index }) => ({ start: index, end: index + word.length })),
    }
  if (!Array.isArray(value)) return throwInvalidData(place, `column "${column}" is ${shown(value)}; expected words`)
  const words = value.map((item: unknown, at) => {
    const word = typeof item === 'string' ? item.trim() : ''
    return word || throwInvalidData(place, `column "${column}": word ${at + 1} is ${shown(item)}; expected a word`)
  })
  let end = -1
  const spans = words.map((word) => {
    const start = end + 1
    end = start + word.length
    return { start, end }
  })
  return { text: words.join(' '), words: spans }
}

function readWordLabels(row: FileRow, columns: Columns): readonly string[] {
  const { place } = row
  const column = columns.label
  const value = readCell(row, columns, 'label')
  if (typeof value === 'string') return value.match(/\S+/g) ?? []
  if (!Array.isArray(value))
    return throwInvalidData(place, `column "${column}" is ${shown(value)}; expected a label for each word`)
  const invalid = value.findIndex((item) => typeof item !== 'string' || item.trim() === '')
  if (invalid >= 0)
    throwInvalidData(place, `column "${column}": label ${invalid + 1} is ${shown(value[invalid])}; expected a label`)
  return value.map((label: string) => label.trim())
}

function blankColumn({ text, textPair }: Text, columns: Columns): string | undefined {
  if (text.trim() === '') return columns.text
  return textPair?.trim() === '' ? columns.textPair : undefined
}

type ColumnRole = 'text' | 'textPair' | 'label'

function readCell({ place, values }: FileRow, columns: Columns, role: ColumnRole): unknown {
  const column = columns[role]
  if (Object.hasOwn(values, column)) return values[column]
  const names = Object.keys(values)
  return throwInvalidData(
    place,
    `there is no column "${column}"; the row has ${names.join(', ') || 'none'}. ` +
      (separatorAdvice(names) ?? `Name the column to use with ${flagOf(`${role}Column`)}.`),
  )
}

/** Advice for a file that another separator than its extension's divides into columns. */
function separatorAdvice(names: readonly string[]): string | undefined {
  const [only = ''] = names
  const found = names.length === 1 ? /[;\t|]/.exec(only)?.[0] : undefined
  return found && `The columns seem to be separated by ${JSON.stringify(found)}; expected commas in .csv, tabs in .tsv.`
}

function readText(row: FileRow, columns: Columns, role: 'text' | 'textPair'): string {
  const value = readCell(row, columns, role)
  if (typeof value === 'string') return value
  return throwInvalidData(row.place, `column "${columns[role]}" is ${shown(value)}; expected a text`)
}

function readLabel(row: FileRow, columns: Columns): Label {
  const value = readCell(row, columns, 'label')
  if (columns.listed && typeof value === 'string') return value.split(',').flatMap((label) => label.trim() || [])
  if (typeof value === 'string' && value !== '') return value
  if (typeof value === 'number' && Number.isFinite(value)) return value
  if (typeof value === 'boolean') return String(value)
  if (Array.isArray(value) && value.every((item) => typeof item === 'string' && item !== '')) return value
  return throwInvalidData(
    row.place,
    `column "${columns.label}" is ${shown(value)}; expected a label, a number or an array of labels`,
  )
}

const shown = (value: unknown) => JSON.stringify(value)?.slice(0, 80)
