// Labelled texts in a file, one at a time. What is wrong is told by file, line and column.

import type { Text } from '../backbones/tokenizer.js'
import { Problem } from '../problem.js'
import { readRows } from './rows.js'

/** What the columns are called. */
export interface Columns {
  readonly text: string
  /** Read where a row has it; asked of every row if `pairs`. */
  readonly textPair: string
  readonly pairs: boolean
  readonly label: string
}

export const defaultColumns: Columns = { text: 'text', textPair: 'text_pair', pairs: false, label: 'label' }

/** A class, a number, or the set of classes that apply. */
export type Label = string | number | readonly string[]

export interface Example extends Text {
  /** `file:line` */
  readonly place: string
  readonly label: Label
}

/** Told now and then how many rows of a file have been read. */
export type OnReading = (path: string, rows: number) => void

const toldEvery = 512

/**
 * Reads a file of labelled texts. A row without text is left out, for nothing can be learned from it.
 * @param onLeftOut told where, and why
 * @param onReading told how far the reading is
 * @throws Problem `unreadable_file` or `invalid_data`
 */
export async function* readExamples(
  path: string,
  columns: Columns,
  onLeftOut: (what: string) => void = () => {},
  onReading: OnReading = () => {},
): AsyncGenerator<Example> {
  let rows = 0
  for await (const { place, values } of readRows(path)) {
    if (++rows % toldEvery === 0) onReading(path, rows)
    const example = exampleOf(values, columns, place)
    const blank = blankColumn(example, columns)
    if (blank === undefined) yield example
    else onLeftOut(`${place}: column "${blank}" is empty or blank; the row is left out`)
  }
}

function exampleOf(row: Record<string, unknown>, columns: Columns, place: string): Example {
  const text = textOf(row, columns.text, place)
  const textPair = columns.pairs || row[columns.textPair] != null ? textOf(row, columns.textPair, place) : undefined
  return { place, text, ...(textPair !== undefined && { textPair }), label: labelOf(row, columns.label, place) }
}

function blankColumn({ text, textPair }: Text, columns: Columns): string | undefined {
  if (text.trim() === '') return columns.text
  return textPair?.trim() === '' ? columns.textPair : undefined
}

function cell(row: Record<string, unknown>, column: string, place: string): unknown {
  if (Object.hasOwn(row, column)) return row[column]
  return refuse(place, `there is no column "${column}"; the row has ${Object.keys(row).join(', ') || 'none'}`)
}

function textOf(row: Record<string, unknown>, column: string, place: string): string {
  const value = cell(row, column, place)
  if (typeof value !== 'string') return refuse(place, `column "${column}" is ${shown(value)}; expected a text`)
  return value
}

function labelOf(row: Record<string, unknown>, column: string, place: string): Label {
  const value = cell(row, column, place)
  if (typeof value === 'string' && value !== '') return value
  if (typeof value === 'number' && Number.isFinite(value)) return value
  if (typeof value === 'boolean') return String(value)
  if (Array.isArray(value) && value.every((item) => typeof item === 'string' && item !== '')) return value
  return refuse(place, `column "${column}" is ${shown(value)}; expected a label, a number or an array of labels`)
}

const shown = (value: unknown) => JSON.stringify(value)?.slice(0, 80)

function refuse(place: string, what: string): never {
  throw new Problem('invalid_data', `${place}: ${what}`)
}
