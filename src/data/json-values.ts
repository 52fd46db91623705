// Parses JSON without losing digits: whole numbers that a double cannot represent become strings of their digits. Ids of
// 64 bits are such numbers.

import { throwInvalidData } from './invalid-data.js'

/** @throws Problem `invalid_data` if the text is not a JSON object */
export function parseObject(text: string, place: string): Record<string, unknown> {
  let value: unknown
  try {
    value = parseExactly(text)
  } catch (error) {
    return throwInvalidData(place, `not JSON: ${(error as Error).message}`)
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  return throwInvalidData(place, 'expected a JSON object')
}

/** @throws SyntaxError */
export function parseExactly(text: string): unknown {
  const value: unknown = JSON.parse(text)
  if (!/\d{16}/.test(text)) return value
  return JSON.parse(
    text.replaceAll(/"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g, (token) =>
      /^-?\d{16,}$/.test(token) && !Number.isSafeInteger(Number(token)) ? `"${token}"` : token,
    ),
  )
}
