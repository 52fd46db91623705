// Finds the places of parts of a text: UTF-16 offsets from code points, and ends without white space.

import type { Span } from './word-rule.js'

/**
 * Converts offsets that count code points, as in Python and Rust, to UTF-16 offsets.
 * @returns undefined for offsets that are not whole numbers within the text
 */
export function codePointOffsets(text: string): (offset: number) => number | undefined {
  // Without surrogate pairs the offsets are equal.
  if (!/[\ud800-\udbff]/.test(text))
    return (offset) => (Number.isInteger(offset) && offset >= 0 && offset <= text.length ? offset : undefined)
  const offsets = [0]
  let end = 0
  for (const character of text) {
    end += character.length
    offsets.push(end)
  }
  return (offset) => offsets[offset]
}

/** A span without the white space at its ends; empty if it has nothing else. */
export function withoutSpace(text: string, { start, end }: Span): Span {
  const part = text.slice(start, end)
  const from = start + part.length - part.trimStart().length
  return { start: from, end: Math.max(from, start + part.trimEnd().length) }
}
