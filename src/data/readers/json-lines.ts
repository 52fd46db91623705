// Reads JSON Lines: an object on each line.

import { type DataFile, encodingNames, textLines, textOf } from '../data-file.js'
import { jsonRow } from '../json-row.js'
import type { FileRow, RowReader } from '../row-reader.js'

export const jsonLinesReader: RowReader = {
  extensions: ['.jsonl', '.ndjson', '.json'],
  recognises: ({ path, text }) => {
    if (text === undefined) return false
    const [first = '', ...others] = text.start.trimStart().split(/\r\n|\r|\n/)
    if (first.startsWith('[')) return false
    // A .json file with a single object may hold the rows in an array.
    if (/\.json$/i.test(path)) return isObject(first) && !(text.whole && others.every((line) => line.trim() === ''))
    return !beginningOfDocument.test(first)
  },
  open: async (file) => ({
    format: `JSON Lines, ${encodingNames[textOf(file).encoding]}`,
    rows: () => objectRows(file),
  }),
}

/** The first line of an object that is written over several lines. */
const beginningOfDocument = /^\{\s*("[^"]*"\s*:\s*\[?\s*)?$/

function isObject(line: string): boolean {
  if (!line.startsWith('{')) return false
  try {
    JSON.parse(line)
    return true
  } catch {
    return false
  }
}

async function* objectRows(file: DataFile): AsyncGenerator<FileRow> {
  for await (const line of textLines(file)) yield jsonRow(line)
}
