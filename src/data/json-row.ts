// Reads a row that is a JSON object: a line of JSON Lines, or an element of a JSON document.

import { withAnnotations } from './annotations.js'
import type { PlacedText } from './data-file.js'
import { throwInvalidData } from './invalid-data.js'
import { parseExactly } from './json-values.js'
import type { FileRow } from './row-reader.js'

/** @throws Problem `invalid_data` if the text is not a JSON object */
export function jsonRow({ place, text }: PlacedText): FileRow {
  let value: unknown
  try {
    value = parseExactly(text)
  } catch (error) {
    return throwInvalidData(place, `not JSON: ${(error as Error).message}`)
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return throwInvalidData(place, 'expected a JSON object')
  return withAnnotations({ place, values: value as Record<string, unknown> })
}
