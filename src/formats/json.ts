// Checks of JSON in untrusted files that JSON.parse does not make. It has no limit on the number of values: a value takes
// up to fifty times the memory of its text, and parsing many of them blocks the server for seconds. And it accepts a
// repeated key.

import type { Steps } from '../steps.js'

/** Most values of a header or of one metadata field. 100,000 labels are well below it. */
export const maxValues = 200_000

const [quotationMark, backslash, comma] = [0x22, 0x5c, 0x2c]
const [bracket, closingBracket, brace, closingBrace] = [0x5b, 0x5d, 0x7b, 0x7d]

/** Whether a JSON text has at most `most` values. It counts the commas, brackets and braces outside strings. */
export function hasAtMostValues(text: string, most = maxValues): boolean {
  if (text.length <= most) return true
  let values = 0
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === quotationMark) at = endOfString(text, at)
    else if ((code === comma || code === bracket || code === brace) && ++values > most) return false
  }
  return true
}

/**
 * A key that an object within a valid JSON text has twice, or undefined. JSON.parse would silently keep the last value.
 */
export function repeatedKey(json: string): string | undefined {
  const open: Set<string>[] = []
  for (let at = 0; at < json.length; at++) {
    const code = json.charCodeAt(at)
    if (code === brace) open.push(new Set())
    else if (code === closingBrace) open.pop()
    else if (code === quotationMark) {
      const end = endOfString(json, at)
      // A string before a colon is a key of the innermost object.
      colon.lastIndex = end + 1
      if (colon.test(json)) {
        const key = JSON.parse(json.slice(at, end + 1)) as string
        const keys = open.at(-1)
        if (keys?.has(key)) return key
        keys?.add(key)
      }
      at = end
    }
  }
  return undefined
}

const colon = /[ \t\n\r]*:/y

/** Index of the closing quotation mark of the string that begins at `start`, or the end of the text. */
function endOfString(text: string, start: number): number {
  let at = start + 1
  for (let code = text.charCodeAt(at); at < text.length && code !== quotationMark; code = text.charCodeAt(at))
    at += code === backslash ? 2 : 1
  return at
}

/** Strings that are read in one step. */
const stringsPerStep = 2_000

/**
 * Reads a JSON array of strings in steps, because it may be long.
 * @param check is called for each string, and throws to reject it
 * @returns undefined if the text is an empty array or anything else
 */
export function* readStrings(
  text: string,
  check: (value: string, index: number) => void,
): Steps<readonly string[] | undefined> {
  const strings: string[] = []
  let at = skipSpace(text, 0)
  if (text.charCodeAt(at) !== bracket) return undefined
  for (;;) {
    at = skipSpace(text, at + 1)
    if (text.charCodeAt(at) !== quotationMark) return undefined
    const end = endOfString(text, at)
    const value = parseString(text.slice(at, end + 1))
    if (value === undefined) return undefined
    check(value, strings.length)
    strings.push(value)
    at = skipSpace(text, end + 1)
    const next = text.charCodeAt(at)
    if (next === closingBracket) return skipSpace(text, at + 1) === text.length ? strings : undefined
    if (next !== comma) return undefined
    if (strings.length % stringsPerStep === 0) yield
  }
}

function skipSpace(text: string, start: number): number {
  space.lastIndex = start
  return start + (space.exec(text)?.[0].length ?? 0)
}

const space = /[ \t\n\r]*/y

function parseString(json: string): string | undefined {
  try {
    return JSON.parse(json) as string
  } catch {
    return undefined
  }
}
