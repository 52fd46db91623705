// Opens data files: finds the format of a file by its name and content.

import { extname } from 'node:path'
import { openDataFile } from './data-file.js'
import { throwInvalidData } from './invalid-data.js'
import { rowReaders } from './readers.js'
import type { RowSource } from './row-reader.js'

const extensions: ReadonlySet<string> = new Set(rowReaders.flatMap((reader) => reader.extensions))
const extensionOf = (path: string): string => extname(path).toLowerCase()

/** Whether the extension of a file name is that of a data file. */
export const isDataFileName = (path: string): boolean => extensions.has(extensionOf(path))

/**
 * Checks the name of a data file and its beginning, before a command does anything slow.
 * @throws Problem `invalid_data`, `unreadable_file`
 */
export async function checkDataFile(path: string): Promise<void> {
  await openRows(path)
}

/**
 * Finds the format and the dialect of a file.
 * @throws Problem `unreadable_file`; `invalid_data` if the format is not known
 */
export async function openRows(path: string): Promise<RowSource> {
  const extension = extensionOf(path)
  const candidates = rowReaders.filter((reader) => reader.extensions.includes(extension))
  if (candidates.length === 0) {
    const advice = adviceByExtension[extension]
    throwInvalidData(
      path,
      `expected a data file that ends in ${[...extensions].join(', ')}${advice ? `. ${advice}` : ''}`,
    )
  }
  const file = await openDataFile(path)
  // The last reader explains what is wrong with a file that none recognises.
  const reader = candidates.find(({ recognises }) => recognises(file)) ?? candidates.at(-1)
  if (reader === undefined) throw new Error('a format has no reader')
  return reader.open(file)
}

const spreadsheetAdvice = 'Save the sheet of a spreadsheet as CSV with the encoding UTF-8.'
const decompressAdvice = 'Decompress the file first.'
const adviceByExtension: Readonly<Record<string, string>> = {
  '.xlsx': spreadsheetAdvice,
  '.xls': spreadsheetAdvice,
  '.ods': spreadsheetAdvice,
  '.gz': decompressAdvice,
  '.zip': decompressAdvice,
  '.zst': decompressAdvice,
  '.bz2': decompressAdvice,
  '.xz': decompressAdvice,
  '.arrow': 'Convert the file to Parquet.',
  '.feather': 'Convert the file to Parquet.',
  '.safetensors': 'This file looks like a task file; give the data file in its place.',
}
