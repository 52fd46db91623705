// Words of a text, as its tokenizer tells them apart.

import type { Encoding } from 'tokenizers'

export interface Word {
  /** The first token that stands for some of the word. */
  readonly token: number
  /** UTF-16 offsets into the text, the end exclusive. */
  readonly start: number
  readonly end: number
}

/**
 * The words of an encoded text, in its order. One ends where the tokenizer's own does, and at white space: some
 * tokenizers do not split there, and byte-level BPE and Unigram count the white space before a word as part of it.
 * @param text the only text of the encoding
 */
export function splitWords(text: string, encoding: Encoding): readonly Word[] {
  const wordIds = encoding.getWordIds()
  const utf16 = utf16Offsets(text)
  const words: { token: number; start: number; end: number }[] = []
  let openId: number | null | undefined
  for (const [token, [from = 0, to = 0]] of encoding.getOffsets().entries()) {
    const { start, end } = withoutSpace(text, utf16(from), utf16(to))
    // Special tokens stand for no text.
    if (start === end) continue
    const open = words.at(-1)
    if (open && wordIds[token] === openId && !/\s/.test(text.slice(open.end, start))) open.end = end
    else words.push({ token, start, end })
    openId = wordIds[token]
  }
  return words
}

/** What is left of a span without the white space at either end. */
function withoutSpace(text: string, from: number, to: number): { readonly start: number; readonly end: number } {
  const span = text.slice(from, to)
  const start = from + span.length - span.trimStart().length
  return { start, end: Math.max(start, from + span.trimEnd().length) }
}

/** Turns offsets in code points, as tokenizers counts, into offsets in UTF-16, as JavaScript does. */
function utf16Offsets(text: string): (codePoints: number) => number {
  const offsets: number[] = [0]
  let offset = 0
  for (const character of text) {
    offset += character.length
    offsets.push(offset)
  }
  return (codePoints) => offsets[codePoints] ?? text.length
}
