// Token classification: hidden states → a label for each word of the text. A word takes the label of its first token,
// as BERT's authors do for named entities (Devlin et al. 2019, section 5.3).

import type { Encoding } from 'tokenizers'
import type { TaskFile } from '../formats/task-file.js'
import { type Classification, logitsOf, type ScoreOptions, scoreTask } from './heads.js'

export interface LabelledWord extends Classification {
  /** The word as the text has it, and where: UTF-16 offsets into the text, the end exclusive. */
  readonly text: string
  readonly start: number
  readonly end: number
}

export interface TokenClassification {
  readonly words: readonly LabelledWord[]
}

/** @param hidden [tokens, H], the row's hidden states */
export function labelWords(
  task: TaskFile,
  text: string,
  encoding: Encoding,
  hidden: Float32Array,
  options: ScoreOptions,
): TokenClassification {
  const H = (task.head.dense ?? task.head.output).inputs
  const offsets = encoding.getOffsets()
  const wordIds = encoding.getWordIds()
  const utf16 = utf16Offsets(text)
  const spans: { first: number; start: number; end: number }[] = []
  wordIds.forEach((word, token) => {
    if (word === null || word === undefined) return
    const [start = 0, end = 0] = offsets[token] ?? []
    const open = spans.at(-1)
    if (open !== undefined && wordIds[open.first] === word) open.end = end
    else spans.push({ first: token, start, end })
  })
  const words = spans.flatMap(({ first, start, end }): LabelledWord[] => {
    const span = { start: utf16(start), end: utf16(end) }
    const word = text.slice(span.start, span.end)
    // Byte-level tokenizers make words of white space too.
    if (word.trim() === '') return []
    const logits = logitsOf(task.head, hidden.subarray(first * H, (first + 1) * H))
    return [{ text: word, ...span, ...(scoreTask(task, logits, options) as Classification) }]
  })
  return { words }
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
