// Finds the words of a text and their tokens: by the rule of a task, or at the boundaries that the tokenizer found.

import type { Encoding } from 'tokenizers'
import { codePointOffsets, withoutSpace } from '../formats/spans.js'
import { afterMarks, type WordRule, wordSpans } from '../formats/word-rule.js'

export interface Word {
  /** Index of the first token of the word. */
  readonly token: number
  /** UTF-16 offsets into the text; `end` is exclusive. */
  readonly start: number
  readonly end: number
}

/** A word whose end may still change. */
interface OpenWord extends Word {
  end: number
}

/**
 * The words of an encoded text that have a token, in order. A word never ends before its combining marks.
 * @param encoded the only text of the encoding, with its prefix; offsets of words are without the prefix
 * @param rule that of the task; a task without one has the tokenizer's words
 */
export function splitWords(encoded: string, encoding: Encoding, prefixLength = 0, rule?: WordRule): readonly Word[] {
  const text = encoded.slice(prefixLength)
  const tokens = tokenSpans(encoded, encoding, prefixLength)
  return rule === undefined ? wordsOfTokenizer(text, tokens, encoding.getWordIds()) : wordsByRule(text, tokens, rule)
}

/**
 * A word ends at the tokenizer's word boundaries and at white space. Some tokenizers do not split at white space;
 * byte-level BPE and Unigram make the space before a word part of it.
 */
function wordsOfTokenizer(
  text: string,
  tokens: readonly TokenSpan[],
  wordIds: readonly (number | null | undefined)[],
): readonly Word[] {
  const words: OpenWord[] = []
  let openId: number | null | undefined
  for (const { token, start, end } of tokens) {
    const open = words.at(-1)
    // A tokenizer may make tokens of the combining marks that belong to the word already.
    if (open && end <= open.end) continue
    const withMarks = afterMarks(text, end, text.length)
    if (open && (start < open.end || (wordIds[token] === openId && !/\s/.test(text.slice(open.end, start)))))
      open.end = withMarks
    else words.push({ token, start, end: withMarks })
    openId = wordIds[token]
  }
  return words
}

/** A word without a token is left out: its text was cut before it, or the tokenizer drops its characters. */
function wordsByRule(text: string, tokens: readonly TokenSpan[], rule: WordRule): readonly Word[] {
  const words: OpenWord[] = []
  let at = 0
  for (const { start, end } of wordSpans(text, rule, tokens.at(-1)?.end ?? 0)) {
    while (at < tokens.length && (tokens[at]?.end ?? 0) <= start) at++
    let first = tokens[at]
    // A token that began in the word before is only taken if no token begins in this word.
    const next = tokens[at + 1]
    if (first && first.start < start && next && next.start < end) first = next
    if (first === undefined || first.start >= end) continue
    const last = words.at(-1)
    // One token cannot be the first of two words.
    if (last?.token === first.token) last.end = end
    else words.push({ token: first.token, start, end })
    if (unspacedScript.test(text.slice(start, end))) splitAtTokens(text, tokens, at + 1, end, words)
  }
  return words
}

/** Splits the last word, in a script without spaces: every token of the word, from the one at `from`, begins a word. */
function splitAtTokens(text: string, tokens: readonly TokenSpan[], from: number, end: number, words: OpenWord[]): void {
  for (let at = from, next = tokens[at]; next && next.start < end; next = tokens[++at]) {
    const { token, start } = next
    const open = words.at(-1)
    if (open === undefined || start <= open.start || token <= open.token || !isBorder(text, start)) continue
    words.push({ token, start, end })
    open.end = start
  }
}

/** Scripts whose writing does not separate words. */
const unspaced = '\\p{sc=Han}\\p{sc=Hiragana}\\p{sc=Katakana}\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmer}\\p{sc=Myanmar}'
const unspacedScript = new RegExp(`[${unspaced}]`, 'u')
/** Before or after a character of such a script, and not before a combining mark. */
const border = new RegExp(`(?<=[${unspaced}])(?!\\p{M})|(?=[${unspaced}])(?!\\p{M})`, 'uy')

function isBorder(text: string, offset: number): boolean {
  border.lastIndex = offset
  return border.test(text)
}

interface TokenSpan {
  readonly token: number
  readonly start: number
  readonly end: number
}

/** The tokens that cover text after the prefix, without the white space at their ends. Special tokens cover no text. */
function tokenSpans(encoded: string, encoding: Encoding, prefixLength: number): readonly TokenSpan[] {
  const utf16 = codePointOffsets(encoded)
  const spans: TokenSpan[] = []
  for (const [token, [from = 0, to = 0]] of encoding.getOffsets().entries()) {
    const span = { start: Math.max(prefixLength, utf16(from) ?? encoded.length), end: utf16(to) ?? encoded.length }
    const { start, end } = withoutSpace(encoded, span)
    if (start < end) spans.push({ token, start: start - prefixLength, end: end - prefixLength })
  }
  return spans
}
