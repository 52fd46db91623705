// Reads a JSON document: an array of objects, or an object with such an array.

import { withAnnotations } from '../annotations.js'
import { type DataFile, encodingNames, textOf, textPieces } from '../data-file.js'
import { JsonElements } from '../json-elements.js'
import { parseObject } from '../json-values.js'
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
  for await (const piece of textPieces(file))
    for (const { place, text } of elements.add(piece))
      yield withAnnotations({ place, values: parseObject(text, place) })
  elements.end()
}
