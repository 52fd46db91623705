// Reads labelled examples from a data file, one at a time. Errors name the file, the line and the column.

import type { Text } from '../backbones/tokenizer.js'
import type { Span } from '../formats/word-rule.js'
import { flagOf } from '../settings.js'
import { type ColumnRole, type Columns, findColumns, hasLabel, usedColumns } from './columns.js'
import { openRows } from './file-rows.js'
import { shownValue, throwInvalidData } from './invalid-data.js'
import { isMissing, looksLikeList, parseList } from './label-cells.js'
import { type LabelledSpan, spansInCell, spansOfText } from './label-spans.js'
import { indicatorColumns, type Label, type LabelNotation, labelNotation, readLabel } from './row-labels.js'
import type { FileRow, RowSource, RowsOptions } from './row-reader.js'
import { describeSkipped, SkipCounter } from './skipped-rows.js'

export interface Example extends Text {
  /** `file:line` */
  readonly place: string
  readonly label: Label
  /** The words of the text, if each has a label: as many as `label` has. */
  readonly words?: readonly Span[]
  /** The entities of the text in order, if the data labels parts of texts. `label` is empty then. */
  readonly spans?: readonly LabelledSpan[]
}

/** Receives from time to time how many rows of a file have been read. */
export type OnReading = (path: string, rows: number) => void

/** What is found when a file is opened. */
export interface OpenedExamples {
  /** Format and dialect, such as "text separated by semicolons, UTF-8". */
  readonly format: string
  /** The columns by their names in the file. */
  readonly columns: Columns
  /** Names of all columns, as far as they are known. */
  readonly names: readonly string[]
}

/** Receives what happens while examples are read. */
export interface ExampleWatch {
  readonly onOpen?: (opened: OpenedExamples) => void
  /** Receives what looks wrong but can be read. */
  readonly onWarning?: (what: string) => void
  /** Receives the rows that cannot be used. By default, warnings count them. */
  readonly onSkip?: (place: string, reason: string) => void
  readonly onReading?: OnReading
  /** See RowsOptions. */
  readonly maxGroupBytes?: number | undefined
}

const rowsPerReport = 512

/** Warnings about labelled parts of texts that are left out. */
const maxSpanWarnings = 5

/** The first rows decide how labels are written. Their values are limited in length, because they are kept in memory. */
const sampleRows = 1000
const sampleLength = 1 << 24

/**
 * Reads a file of labelled examples. It skips rows without text or label, because they cannot be used for training.
 * @throws Problem `unreadable_file` or `invalid_data`
 */
export async function* readExamples(
  path: string,
  columns: Columns,
  { onOpen = () => {}, onWarning = () => {}, onSkip, onReading = () => {}, maxGroupBytes }: ExampleWatch = {},
): AsyncGenerator<Example> {
  const source = await openRows(path)
  const skipped = new SkipCounter()
  const skip = onSkip ?? ((place: string, reason: string) => skipped.add(place, reason))
  const { sample, rest, found, names } = await openColumns(path, source, columns, {
    onWarning,
    ...(maxGroupBytes !== undefined && { maxGroupBytes }),
  })
  onOpen({ format: source.format, columns: found, names })
  const notation = labelNotation(sample, found, source.labelNames?.[found.label], path)
  const warnOfSpan = firstOnly(maxSpanWarnings, onWarning)
  let rows = 0
  try {
    for await (const row of concatenated(sample, rest)) {
      if (++rows % rowsPerReport === 0) onReading(path, rows)
      const example = readExample(row, found, notation, warnOfSpan)
      if ('skip' in example) skip(row.place, example.skip)
      else yield example
    }
  } finally {
    await rest.return(undefined)
  }
  for (const reason of skipped.byReason) onWarning(`${path}: ${describeSkipped(path, reason)}`)
}

/** Passes on the first calls only. */
function firstOnly(most: number, call: (what: string) => void): (what: string) => void {
  let calls = 0
  return (what) => {
    if (calls++ < most) call(what)
  }
}

/** Reads the first rows and finds the columns in use. */
async function openColumns(
  path: string,
  source: RowSource,
  columns: Columns,
  options: Omit<RowsOptions, 'columns'>,
): Promise<{ sample: readonly FileRow[]; rest: AsyncGenerator<FileRow>; found: Columns; names: readonly string[] }> {
  const named = source.columns && hasLabel(columns, source.columns) && findColumns(columns, source.columns, path)
  const rest = source.rows({ ...options, ...(named && { columns: usedColumns(named) }) })
  const sample: FileRow[] = []
  let length = 0
  while (sample.length < sampleRows && length < sampleLength) {
    const next = await rest.next()
    if (next.done) break
    sample.push(next.value)
    for (const value of Object.values(next.value.values)) length += typeof value === 'string' ? value.length : 8
  }
  const names = source.columns ?? [...new Set(sample.flatMap(({ values }) => Object.keys(values)))]
  const found =
    named || (names.length > 0 ? findColumns(columns, names, path, indicatorColumns(sample, names)) : columns)
  return { sample, rest, found, names }
}

async function* concatenated(sample: readonly FileRow[], rest: AsyncIterable<FileRow>): AsyncGenerator<FileRow> {
  yield* sample
  yield* rest
}

interface Skipped {
  /** The reason, as the end of a sentence. */
  readonly skip: string
}

function readExample(
  row: FileRow,
  columns: Columns,
  notation: LabelNotation,
  onWarning: (what: string) => void,
): Example | Skipped {
  const { place, values } = row
  const { tagged } = columns
  const text = readText(row, columns, 'text')
  const spans = typeof text === 'string' && tagged !== false ? spansInCell(values[columns.label]) : undefined
  if (typeof text === 'string' && spans && (spans.length > 0 || tagged === true))
    return { place, text, label: [], spans: spansOfText(spans, text, place, onWarning) }
  if (tagged === true || (tagged === 'arrays' && (Array.isArray(text) || areWordLists(text, values[columns.label]))))
    return readTaggedExample(row, columns, notation)
  if (text === undefined) return { skip: `column "${columns.text}" is empty` }
  if (typeof text !== 'string')
    return throwInvalidData(place, `column "${columns.text}" is ${shownValue(text)}; expected a text`)
  const textPair = columns.textPair in values || columns.pairs ? readText(row, columns, 'textPair') : undefined
  if (textPair === undefined && columns.bothTexts) return { skip: `column "${columns.textPair}" is empty` }
  if (textPair !== undefined && typeof textPair !== 'string')
    return throwInvalidData(place, `column "${columns.textPair}" is ${shownValue(textPair)}; expected a text`)
  const label = readLabel(row, columns, notation)
  if (label === undefined) return { skip: missingLabel(row, columns) }
  return { place, text, ...(textPair !== undefined && { textPair }), label }
}

function missingLabel({ values }: FileRow, { label, labelColumns }: Columns): string {
  if (labelColumns) return 'the columns of the labels are empty'
  const value = values[label]
  return value !== undefined && value !== null && String(value).trim() !== ''
    ? `column "${label}" is ${shownValue(value)}`
    : `column "${label}" is empty`
}

/** Whether a text and its label are cells of CSV with lists of words and of as many labels. */
function areWordLists(text: unknown, label: unknown): boolean {
  if (typeof text !== 'string' || typeof label !== 'string' || !looksLikeList(text) || !looksLikeList(label))
    return false
  const words = parseList(text)
  return words !== undefined && words.length > 0 && words.length === parseList(label)?.length
}

/** Words and their labels: two arrays of equal length, or two strings with as many parts between white space. */
function readTaggedExample(row: FileRow, columns: Columns, notation: LabelNotation): Example | Skipped {
  const { place, values } = row
  if (isMissing(readCell(row, columns, 'text'))) return { skip: `column "${columns.text}" is empty` }
  if (columns.pairs || !isMissing(values[columns.textPair]))
    throwInvalidData(place, `column "${columns.textPair}" has a second text; labelled words must belong to one text`)
  const { text, words } = readWords(row, columns)
  const label = readWordLabels(row, columns, notation)
  if (label.length !== words.length)
    throwInvalidData(
      place,
      `column "${columns.label}" has ${label.length} labels, but column "${columns.text}" has ${words.length} words`,
    )
  return { place, text, label, words }
}

/** The words of an array are joined by single spaces. */
function readWords(row: FileRow, columns: Columns): { text: string; words: Span[] } {
  const { place } = row
  const column = columns.text
  const value = listInCell(readCell(row, columns, 'text'))
  if (typeof value === 'string')
    return {
      text: value,
      words: Array.from(value.matchAll(/\S+/g), ({ 0: word, index }) => ({ start: index, end: index + word.length })),
    }
  if (!Array.isArray(value))
    return throwInvalidData(place, `column "${column}" is ${shownValue(value)}; expected words`)
  const words = value.map((item: unknown, at) => {
    const word = typeof item === 'string' ? item.trim() : ''
    return word || throwInvalidData(place, `column "${column}": word ${at + 1} is ${shownValue(item)}; expected a word`)
  })
  let end = -1
  const spans = words.map((word) => {
    const start = end + 1
    end = start + word.length
    return { start, end }
  })
  return { text: words.join(' '), words: spans }
}

function readWordLabels(row: FileRow, columns: Columns, { names }: LabelNotation): readonly string[] {
  const { place } = row
  const column = columns.label
  const value = listInCell(readCell(row, columns, 'label'))
  if (typeof value === 'string') return value.match(/\S+/g) ?? []
  if (!Array.isArray(value))
    return throwInvalidData(place, `column "${column}" is ${shownValue(value)}; expected a label for each word`)
  return value.map((item: unknown, at) => {
    const throwInvalid = (expected: string) =>
      throwInvalidData(place, `column "${column}": label ${at + 1} is ${shownValue(item)}${expected}`)
    if (typeof item === 'number' || (names && typeof item === 'string' && /^\d+$/.test(item)))
      return (
        names?.[Number(item)] ??
        throwInvalid(
          names
            ? `, but the label names have the numbers 0 to ${names.length - 1}`
            : `, a number. Give the names of the labels in the order of their numbers, as in: --label-names O,B-PER,I-PER`,
        )
      )
    const label = typeof item === 'string' ? item.trim() : ''
    return label || throwInvalid('; expected a label')
  })
}

/** A list in a cell of CSV as an array. */
const listInCell = (cell: unknown): unknown =>
  typeof cell === 'string' && looksLikeList(cell) ? (parseList(cell) ?? cell) : cell

function readCell({ place, values }: FileRow, columns: Columns, role: ColumnRole): unknown {
  const column = columns[role]
  if (Object.hasOwn(values, column)) return values[column]
  const names = Object.keys(values)
  return throwInvalidData(
    place,
    `there is no column "${column}"; the row has ${names.join(', ') || 'none'}. ` +
      `Name the column to use with ${flagOf(`${role}Column`)}.`,
  )
}

/** A text, undefined if it is missing or blank, or any other value. Numbers and truth values are texts. */
function readText(row: FileRow, columns: Columns, role: 'text' | 'textPair'): unknown {
  const value = row.values[columns[role]]
  if (value === undefined || value === null || (typeof value === 'string' && value.trim() === '')) return undefined
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : value
}
