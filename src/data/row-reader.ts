// The interface between formats of data files and what reads their rows. A new format is a file in readers/ and a line in
// readers.ts.

import type { DataFile } from './data-file.js'

export interface FileRow {
  /** `file:line`, or `file: row N` for formats without lines */
  readonly place: string
  /** By column name. Values of CSV and TSV are strings; a row that ends early lacks the columns at its end. */
  readonly values: Readonly<Record<string, unknown>>
}

export interface RowsOptions {
  /** Receives what looks wrong in the file but can be read. */
  readonly onWarning: (what: string) => void
  /** Columns in use. A format that stores columns apart may leave out the others. */
  readonly columns?: readonly string[]
  /** Most bytes in memory for the rows that a format stores together. The default is that of the format. */
  readonly maxGroupBytes?: number
}

/** A file whose format and dialect are known. Its rows can be read several times. */
export interface RowSource {
  /** Format and dialect for reports, such as "CSV separated by semicolons, UTF-8". */
  readonly format: string
  /** Names of all columns in the order of the file, if the format names them once. A name may occur several times. */
  readonly columns?: readonly string[]
  /** Names of the labels that are stored as numbers from 0, by column. */
  readonly labelNames?: Readonly<Record<string, readonly string[]>>
  /** @throws Problem `invalid_data`, `unreadable_file` */
  readonly rows: (options: RowsOptions) => AsyncGenerator<FileRow>
}

export interface RowReader {
  /** In lower case, with the dot. */
  readonly extensions: readonly string[]
  /** Whether a file with one of the extensions is in this format. It judges by the beginning of the file. */
  readonly recognises: (file: DataFile) => boolean
  /** @throws Problem `invalid_data`, `unreadable_file` */
  readonly open: (file: DataFile) => Promise<RowSource>
}
