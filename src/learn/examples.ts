// Labelled texts in a file, one at a time. What is wrong is told by file, line and column.

import type { Text } from '../backbones/tokenizer.js'
import { readFileRows } from './file-rows.js'
import { throwInvalidData } from './invalid-data.js'

/** What the columns are called, and how they are read. */
export interface Columns {
  readonly text: string
  /** Read where a row has it; asked of every row if `pairs`. */
  readonly textPair: string
  readonly pairs: boolean
  readonly label: string
  /** Whether text and label are words with a label each: of all rows, of none, or of those whose text is an array. */
  readonly tagged: boolean | 'arrays'
  /** Whether a label that is a text is a list of labels, separated by commas; an empty one is none. */
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

/** Where a word is in its text: UTF-16 offsets, the end exclusive. */
export interface WordSpan {
  readonly start: number
  readonly end: number
}

export interface Example extends Text {
  /** `file:line` */
  readonly place: string
  readonly label: Label
  /** The text's words where each has a label of its own: as many as `label` has. */
  readonly words?: readonly WordSpan[]
}

/** Told now and then how many rows of a file have been read. */
export type OnReading = (path: string, rows: number) => void

const rowsPerReport = 512

/** Rows without text that are named one by one; the others are counted. */
const maxSingleWarnings = 5

/**
 * Reads a file of labelled texts. A row without text is left out, for nothing can be learned from it.
 * @param onWarning told where, and why
 * @param onReading told how far the reading is
 * @throws Problem `unreadable_file` or `invalid_data`
 */
export async function* readExamples(
  path: string,
  columns: Columns,
  onWarning: (what: string) => void = () => {},
  onReading: OnReading = () => {},
): AsyncGenerator<Example> {
  let rows = 0
  let leftOut = 0
  for await (const { place, values } of readFileRows(path)) {
    if (++rows % rowsPerReport === 0) onReading(path, rows)
    const example = readExample(values, columns, place)
    const blank = blankColumn(example, columns)
    if (blank === undefined) yield example
    else if (leftOut++ < maxSingleWarnings)
      onWarning(`${place}: column "${blank}" is empty or blank; the row is left out`)
  }
  if (leftOut > maxSingleWarnings)
    onWarning(`${path}: ${leftOut - maxSingleWarnings} more rows without text are left out`)
}

function readExample(row: Record<string, unknown>, columns: Columns, place: string): Example {
  const { tagged } = columns
  if (tagged === true || (tagged === 'arrays' && Array.isArray(row[columns.text])))
    return readTaggedExample(row, columns, place)
  const text = readText(row, columns.text, place)
  const textPair = columns.pairs || row[columns.textPair] != null ? readText(row, columns.textPair, place) : undefined
  return { place, text, ...(textPair !== undefined && { textPair }), label: readLabel(row, columns, place) }
}

/** Words and their labels: arrays of them, or texts of as many, separated by white space. */
function readTaggedExample(row: Record<string, unknown>, columns: Columns, place: string): Example {
  if (columns.pairs || row[columns.textPair] != null)
    throwInvalidData(
      place,
      `there is a second text, "${columns.textPair}"; words with a label each are those of one text`,
    )
  const { text, words } = readWords(row, columns.text, place)
  const label = readWordLabels(row, columns.label, place)
  if (label.length !== words.length)
    throwInvalidData(
      place,
      `column "${columns.label}" has ${label.length} labels, but column "${columns.text}" has ${words.length} words`,
    )
  return { place, text, label, words }
}

/** An array of words becomes a text of them, a space between each and the next. */
function readWords(row: Record<string, unknown>, column: string, place: string): { text: string; words: WordSpan[] } {
  const value = readCell(row, column, place)
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

function readWordLabels(row: Record<string, unknown>, column: string, place: string): readonly string[] {
  const value = readCell(row, column, place)
  if (typeof value === 'string') return value.match(/\S+/g) ?? []
  if (!Array.isArray(value))
    return throwInvalidData(place, `column "${column}" is ${shown(value)}; expected a label for each word`)
  const odd = value.findIndex((item) => typeof item !== 'string' || item.trim() === '')
  if (odd >= 0)
    throwInvalidData(place, `column "${column}": label ${odd + 1} is ${shown(value[odd])}; expected a label`)
  return value.map((label: string) => label.trim())
}

function blankColumn({ text, textPair }: Text, columns: Columns): string | undefined {
  if (text.trim() === '') return columns.text
  return textPair?.trim() === '' ? columns.textPair : undefined
}

function readCell(row: Record<string, unknown>, column: string, place: string): unknown {
  if (Object.hasOwn(row, column)) return row[column]
  return throwInvalidData(place, `there is no column "${column}"; the row has ${Object.keys(row).join(', ') || 'none'}`)
}

function readText(row: Record<string, unknown>, column: string, place: string): string {
  const value = readCell(row, column, place)
  if (typeof value !== 'string')
    return throwInvalidData(place, `column "${column}" is ${shown(value)}; expected a text`)
  return value
}

function readLabel(row: Record<string, unknown>, { label: column, listed }: Columns, place: string): Label {
  const value = readCell(row, column, place)
  if (listed && typeof value === 'string') return value.split(',').flatMap((label) => label.trim() || [])
  if (typeof value === 'string' && value !== '') return value
  if (typeof value === 'number' && Number.isFinite(value)) return value
  if (typeof value === 'boolean') return String(value)
  if (Array.isArray(value) && value.every((item) => typeof item === 'string' && item !== '')) return value
  return throwInvalidData(
    place,
    `column "${column}" is ${shown(value)}; expected a label, a number or an array of labels`,
  )
}

const shown = (value: unknown) => JSON.stringify(value)?.slice(0, 80)
