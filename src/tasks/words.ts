// Token classification: hidden states → a label for each word of the text, and the entities that the labels mark. A word gets
// the label of its first token, as in BERT's named entity recognition (Devlin et al. 2019, section 5.3).

import type { Word } from '../backbones/words.js'
import { entitiesOf, type Tag, tagsOf } from '../formats/iob.js'
import type { Head } from '../petl/task.js'
import type { Steps } from '../steps.js'
import { type Decision, type DecisionOptions, decideOne, decideWords } from './decisions.js'
import { type Classification, classify, logitsInSteps } from './heads.js'

interface TextSpan {
  /** The part of the text from `start` to `end`, which are UTF-16 offsets; `end` is exclusive. */
  readonly text: string
  readonly start: number
  readonly end: number
}

export interface LabelledWord extends Classification, TextSpan {}

export interface LabelledEntity extends TextSpan {
  /** The type: X of B-X and I-X. */
  readonly label: string
  /** Mean score of its words. */
  readonly score: number
}

export interface TokenClassification {
  readonly words: readonly LabelledWord[]
  /** Absent if the labels of the task do not mark entities (IOB2). */
  readonly entities?: readonly LabelledEntity[]
}

/**
 * @param words of the text
 * @param hidden [tokens, H], the hidden states of the row
 */
export function* labelWords(
  { labels, head }: { readonly labels: readonly string[]; readonly head: Head },
  text: string,
  words: readonly Word[],
  hidden: Float32Array,
  options: DecisionOptions,
): Steps<TokenClassification> {
  const H = (head.dense ?? head.output).inputs
  const labelled: LabelledWord[] = []
  const decisions: Decision[] = []
  for (const { token, start, end } of words) {
    const logits = yield* logitsInSteps(head, hidden.subarray(token * H, (token + 1) * H))
    labelled.push({ text: text.slice(start, end), start, end, ...(yield* classify(labels, logits, options)) })
    if (options.onDecision) decisions.push(yield* decideOne(labels, logits))
    yield
  }
  if (decisions.length > 0) options.onDecision?.(decideWords(labelled, decisions))
  const tags = tagsByLabel(labels)
  return tags ? { words: labelled, entities: joinWords(text, labelled, tags) } : { words: labelled }
}

type TagsByLabel = ReadonlyMap<string, Tag | undefined>

/** Parsed once per list of labels: a list can be long, and a request can have many texts. */
const knownTags = new WeakMap<readonly string[], { readonly tags: TagsByLabel | undefined }>()

function tagsByLabel(labels: readonly string[]): TagsByLabel | undefined {
  const known = knownTags.get(labels)
  if (known) return known.tags
  const list = tagsOf(labels)
  const tags = list && new Map(labels.map((label, c) => [label, list[c]] as const))
  knownTags.set(labels, { tags })
  return tags
}

function joinWords(text: string, words: readonly LabelledWord[], tags: TagsByLabel): readonly LabelledEntity[] {
  const found = entitiesOf(words.map(({ label }) => tags.get(label)))
  return found.map(({ type, first, end }): LabelledEntity => {
    const own = words.slice(first, end)
    const span = { start: own[0]?.start ?? 0, end: own.at(-1)?.end ?? 0 }
    const score = own.reduce((sum, word) => sum + word.score, 0) / own.length
    return { label: type, score, text: text.slice(span.start, span.end), ...span }
  })
}
