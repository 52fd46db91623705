// Splits a text into words at the boundaries that its tokenizer found.

import type { Encoding } from 'tokenizers'

export interface Word {
  /** Index of the first token of the word. */
  readonly token: number
  /** UTF-16 offsets into the text; `end` is exclusive. */
  readonly start: number
  readonly end: number
}

/**
 * The words of an encoded text, in order. A word ends at the tokenizer's word boundaries and at white space. Some
 * tokenizers do not split at white space; byte-level BPE and Unigram make the space before a word part of it.
 * @param text the only text of the encoding
 * @param prefixLength UTF-16 length of a prefix of the text that has no words; the offsets of words start after it
 */
export function splitWords(text: string, encoding: Encoding, prefixLength = 0): readonly Word[] {
  const wordIds = encoding.getWordIds()
  const utf16 = utf16Offsets(text)
  const words: { token: number; start: number; end: number }[] = []
  let openId: number | null | undefined
  for (const [token, [from = 0, to = 0]] of encoding.getOffsets().entries()) {
    const { start, end } = withoutSpace(text, Math.max(prefixLength, utf16(from)), utf16(to))
    // A special token covers no text, and a token of the prefix no word.
    if (start >= end) continue
    const open = words.at(-1)
    if (open && wordIds[token] === openId && !/\s/.test(text.slice(open.end, start))) open.end = end
    else words.push({ token, start, end })
    openId = wordIds[token]
  }
  return words.map(({ token, start, end }) => ({ token, start: start - prefixLength, end: end - prefixLength }))
}

/** A span without the white space at its ends. */
function withoutSpace(text: string, from: number, to: number): { readonly start: number; readonly end: number } {
  const span = text.slice(from, to)
  const start = from + span.length - span.trimStart().length
  return { start, end: Math.max(start, from + span.trimEnd().length) }
}

/** Converts the tokenizer's offsets in code points to JavaScript's UTF-16 offsets. */
function utf16Offsets(text: string): (codePoints: number) => number {
  const offsets: number[] = [0]
  let offset = 0
  for (const character of text) {
    offset += character.length
    offsets.push(offset)
  }
  return (codePoints) => offsets[codePoints] ?? text.length
}
