// The formats of data files. If several have the extension of a file, the first that recognises its content reads it.

import { conllReader } from './readers/conll.js'
import { jsonReader } from './readers/json.js'
import { jsonLinesReader } from './readers/json-lines.js'
import { parquetReader } from './readers/parquet.js'
import { separatedReader } from './readers/separated.js'
import type { RowReader } from './row-reader.js'

export const rowReaders: readonly RowReader[] = [
  parquetReader,
  jsonLinesReader,
  jsonReader,
  conllReader,
  separatedReader,
]
