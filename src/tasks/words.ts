// Token classification: hidden states → a label for each word of the text, and the entities that such labels mark. A
// word takes the label of its first token, as BERT's authors do for named entities (Devlin et al. 2019, section 5.3).

import type { Encoding } from 'tokenizers'
import { wordsOf } from '../backbones/words.js'
import { entitiesOf, type Tags, tagsOf } from '../formats/iob.js'
import type { Head } from '../formats/task-file.js'
import { type Classification, classify, logitsOf, type ScoreOptions } from './heads.js'

interface TextSpan {
  /** The span as the text has it, and where: UTF-16 offsets into the text, the end exclusive. */
  readonly text: string
  readonly start: number
  readonly end: number
}

export interface LabelledWord extends Classification, TextSpan {}

export interface LabelledEntity extends TextSpan {
  /** The type: X of B-X and I-X. */
  readonly label: string
  /** Mean of its words' scores. */
  readonly score: number
}

export interface TokenClassification {
  readonly words: readonly LabelledWord[]
  /** Absent where the task's labels do not mark entities (IOB2). */
  readonly entities?: readonly LabelledEntity[]
}

/** @param hidden [tokens, H], the row's hidden states */
export function labelWords(
  { labels, head }: { readonly labels: readonly string[]; readonly head: Head },
  text: string,
  encoding: Encoding,
  hidden: Float32Array,
  options: ScoreOptions,
): TokenClassification {
  const H = (head.dense ?? head.output).inputs
  const words = wordsOf(text, encoding).map(({ token, start, end }): LabelledWord => {
    const logits = logitsOf(head, hidden.subarray(token * H, (token + 1) * H))
    return { text: text.slice(start, end), start, end, ...classify(labels, logits, options) }
  })
  const tags = tagsOf(labels)
  return tags ? { words, entities: joinWords(text, words, labels, tags) } : { words }
}

function joinWords(
  text: string,
  words: readonly LabelledWord[],
  labels: readonly string[],
  tags: Tags,
): readonly LabelledEntity[] {
  const found = entitiesOf(words.map(({ label }) => tags[labels.indexOf(label)]))
  return found.map(({ type, first, end }): LabelledEntity => {
    const own = words.slice(first, end)
    const span = { start: own[0]?.start ?? 0, end: own.at(-1)?.end ?? 0 }
    const score = own.reduce((sum, word) => sum + word.score, 0) / own.length
    return { label: type, score, text: text.slice(span.start, span.end), ...span }
  })
}
