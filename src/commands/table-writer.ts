// Writes rows as CSV, TSV or JSON lines, in the form that the commands read.

import { extname } from 'node:path'
import { Problem } from '../problem.js'
import { shellWord } from './upload-command.js'

export type TableFormat = 'csv' | 'tsv' | 'jsonl'

const formats: Readonly<Record<string, TableFormat>> = {
  '.csv': 'csv',
  '.tsv': 'tsv',
  '.jsonl': 'jsonl',
  '.ndjson': 'jsonl',
}

/** The format of a file by its name. @throws Problem `invalid_setting` */
export function tableFormatOf(flag: string, path: string): TableFormat {
  const format = formats[extname(path).toLowerCase()]
  if (format !== undefined) return format
  throw new Problem(
    'invalid_setting',
    `${flag} ${shellWord(path)}: expected a name that ends in ${Object.keys(formats).join(', ')}`,
  )
}

export interface TableWriter {
  /** The first line of the file; empty for JSON lines. */
  readonly header: string
  /** The line of a row. Columns that it does not have are empty cells. */
  readonly line: (values: Readonly<Record<string, unknown>>) => string
}

/** @param columns of CSV and TSV */
export function tableWriter(format: TableFormat, columns: readonly string[]): TableWriter {
  if (format === 'jsonl') return { header: '', line: (values) => `${JSON.stringify(values)}\n` }
  const separator = format === 'csv' ? ',' : '\t'
  const lineOf = (cells: readonly unknown[]) => `${cells.map(cellText).join(separator)}\n`
  return { header: lineOf(columns), line: (values) => lineOf(columns.map((column) => values[column])) }
}

/** Cells with separators, quotes or line breaks are quoted (RFC 4180), and so are those whose white space could get lost. */
function cellText(value: unknown): string {
  const text = typeof value === 'string' ? value : value == null ? '' : JSON.stringify(value)
  return /[",;\t\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}

/** A list in one cell: separated by commas, as `learn` reads it, or as JSON if an item could contain a comma. */
export const listCell = (items: readonly string[], namesHaveCommas: boolean): string =>
  namesHaveCommas ? JSON.stringify(items) : items.join(',')
