// Reads a JSON document: an array of objects, or an object with such an array.

import { type DataFile, encodingNames, textOf, textPieces } from '../data-file.js'
import { JsonElements } from '../json-elements.js'
import { jsonRow } from '../json-row.js'
import type { FileRow, RowReader } from '../row-reader.js'

export const jsonReader: RowReader = {
  extensions: ['.json', '.jsonl', '.ndjson'],
  recognises: ({ text }) => text !== undefined,
  open: async (file) => ({
    format: `JSON, ${encodingNames[textOf(file).encoding]}`,
    rows: () => elementRows(file),
  }),
}

async function* elementRows(file: DataFile): AsyncGenerator<FileRow> {
  const elements = new JsonElements(file.path)
  for await (const piece of textPieces(file)) for (const element of elements.add(piece)) yield jsonRow(element)
  elements.end()
}
