// Reads the label of a row in the notation of its file.

import type { Columns } from './columns.js'
import { shownValue, throwInvalidData } from './invalid-data.js'
import { isBracketed, isMissing, listOf, looksLikeList, parseList, separatorsIn } from './label-cells.js'
import type { FileRow } from './row-reader.js'

/** A class, a number, the set of classes that apply, or the class of each word. */
export type Label = string | number | readonly string[]

/** How a file writes its labels. */
export interface LabelNotation {
  /** Separates the labels in a cell. */
  readonly separator: string
  /** Names of labels that are stored as numbers from 0. */
  readonly names?: readonly string[]
  /** Whether arrays have 0 or 1 for each name. */
  readonly indicators: boolean
}

/**
 * @param sample the first rows
 * @param storedNames label names that the file itself has
 * @throws Problem `invalid_data` if the notation is not clear
 */
export function labelNotation(
  sample: readonly FileRow[],
  columns: Columns,
  storedNames: readonly string[] | undefined,
  path: string,
): LabelNotation {
  const names = columns.labelNames ?? storedNames
  const hasWords = sample.some(({ values }) => Array.isArray(values[columns.text]))
  const cells = sample.map(({ values }) => values[columns.label])
  const indicators =
    columns.tagged !== true && columns.labelColumns === undefined && !hasWords ? indicatorCount(cells) : undefined
  if (indicators !== undefined && names === undefined)
    throwInvalidData(
      path,
      `column "${columns.label}" has arrays of ${indicators} zeros and ones; ` +
        'give the names of the labels in this order, as in: --label-names price,service,food',
    )
  if (indicators !== undefined && names?.length !== indicators)
    throwInvalidData(
      path,
      `column "${columns.label}" has arrays of ${indicators} zeros and ones, but there are ${names?.length} label names`,
    )
  return {
    separator: columns.labelSeparator ?? (columns.listed ? separatorIn(cells, columns, path) : ','),
    ...(names && { names }),
    indicators: indicators !== undefined,
  }
}

function separatorIn(cells: readonly unknown[], { label }: Columns, path: string): string {
  const [first = ',', second] = separatorsIn(cells.filter((cell) => typeof cell === 'string'))
  if (second === undefined) return first
  return throwInvalidData(
    path,
    `the labels in column "${label}" contain "${first}" and "${second}"; ` +
      `say which one separates labels, as in: --label-separator "${first}"`,
  )
}

const arrayOf = (cell: unknown): readonly unknown[] | undefined =>
  typeof cell === 'string' ? (looksLikeList(cell) ? parseList(cell) : undefined) : listOf(cell)

/** The length of all arrays, if they have nothing but zeros and ones. */
function indicatorCount(cells: readonly unknown[]): number | undefined {
  const arrays = cells.filter((cell) => !isMissing(cell)).map(arrayOf)
  const length = arrays[0]?.length
  if (length === undefined || length < 2) return undefined
  return arrays.every((array) => array?.length === length && array.every((item) => indicator(item) !== undefined))
    ? length
    : undefined
}

const indicatorWords: ReadonlyMap<string, boolean> = new Map([
  ['0', false],
  ['1', true],
  ['0.0', false],
  ['1.0', true],
  ['false', false],
  ['true', true],
])

/** Whether a value is 1, or undefined if it is neither 0 nor 1. */
const indicator = (value: unknown): boolean | undefined => indicatorWords.get(String(value).trim().toLowerCase())

/** The columns that have only zeros and ones, as columns for each label have. */
export const indicatorColumns = (sample: readonly FileRow[], names: readonly string[]): readonly string[] =>
  names.filter((name) => {
    const values = sample.map((row) => row.values[name]).filter((value) => !isMissing(value))
    return values.length > 0 && values.every((value) => indicator(value) !== undefined)
  })

/**
 * The label of a row.
 * @returns undefined if the row has no label
 * @throws Problem `invalid_data` that names the row, the column and the cell
 */
export function readLabel(row: FileRow, columns: Columns, notation: LabelNotation): Label | undefined {
  if (columns.labelColumns) return readLabelColumns(row, columns.labelColumns)
  const value = row.values[columns.label]
  const throwInvalid: ThrowInvalid = (why) =>
    throwInvalidData(row.place, `column "${columns.label}" is ${shownValue(value)}${why}`)
  if (typeof value === 'string') {
    if (looksLikeList(value) || (columns.listed && isBracketed(value))) {
      const items = parseList(value)
      return items
        ? namesOf(items, notation, throwInvalid)
        : throwInvalid(`; it looks like a list, but is not complete. ${listAdvice}`)
    }
    if (columns.listed && value.trim() === '') return []
    if (isMissing(value)) return undefined
    if (columns.listed)
      return value.split(notation.separator).flatMap((item) => nameOf(item.trim(), notation, throwInvalid) || [])
    return nameOf(value.trim(), notation, throwInvalid)
  }
  if (isMissing(value)) return undefined
  const items = listOf(value)
  if (items) return namesOf(items, notation, throwInvalid)
  if (typeof value === 'number' && Number.isFinite(value)) {
    if (notation.names) return named(nameOf(String(value), notation, throwInvalid), columns)
    return columns.listed ? [String(value)] : value
  }
  if (typeof value === 'boolean') return named(String(value), columns)
  return throwInvalid('; expected a label, a number or an array of labels')
}

/** Throws `invalid_data` that names the row, the column and the cell. @param why the end of the sentence */
type ThrowInvalid = (why: string) => never

const named = (name: string | undefined, { listed }: Columns): Label | undefined =>
  listed && name !== undefined ? [name] : name

const listAdvice = 'Write lists as ["a", "b"], or as a;b with --problem-type multi_label_classification.'

/** @throws Problem `invalid_data` for an item that is not a label */
function namesOf(items: readonly unknown[], notation: LabelNotation, throwInvalid: ThrowInvalid): readonly string[] {
  if (notation.indicators) {
    const { names = [] } = notation
    if (items.length !== names.length) throwInvalid(`; expected ${names.length} zeros and ones, as in the first rows`)
    return names.filter((_, at) => {
      const applies = indicator(items[at])
      return applies ?? throwInvalid(`; item ${at + 1} is ${shownValue(items[at])}, not 0 or 1`)
    })
  }
  return items.map((item, at) => {
    const name = ['string', 'number', 'boolean'].includes(typeof item) ? String(item).trim() : ''
    if (name === '') return throwInvalid(`; label ${at + 1} of the list is ${shownValue(item)}, not a name`)
    return nameOf(name, notation, throwInvalid) ?? name
  })
}

/** The name of a label that may be stored as a number. −1 means no label, as in test sets of Hugging Face. */
function nameOf(label: string, { names }: LabelNotation, throwInvalid: ThrowInvalid): string | undefined {
  if (names === undefined || !/^-?\d+(\.0+)?$/.test(label) || names.includes(label)) return label
  const index = Number(label)
  if (index === -1) return undefined
  return names[index] ?? throwInvalid(`, but the label names have the numbers 0 to ${names.length - 1}`)
}

/** The names of the columns with 1. */
function readLabelColumns({ place, values }: FileRow, labelColumns: readonly string[]): readonly string[] | undefined {
  if (labelColumns.every((column) => isMissing(values[column]))) return undefined
  return labelColumns.filter((column) => {
    const value = values[column]
    const applies = isMissing(value) ? false : indicator(value)
    return applies ?? throwInvalidData(place, `column "${column}" is ${shownValue(value)}; expected 0 or 1`)
  })
}
