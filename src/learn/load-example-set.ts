// Loads a file of labelled texts as a set of encoded examples. It reads one example at a time and tokenises in batches.

import type { EncodedText, TextForm, TextTokenizer } from '../backbones/tokenizer.js'
import { splitWords, type Word } from '../backbones/words.js'
import { type Columns, columnsFor } from '../data/columns.js'
import { type Example, type ExampleWatch, readExamples } from '../data/examples.js'
import type { LabelSpace } from '../data/label-space.js'
import type { LabelledSpan } from '../data/label-spans.js'
import type { Span } from '../formats/word-rule.js'
import type { ExampleSet } from './example-set.js'
import { GrowingArray } from './growing-array.js'
import { problemTraits } from './problem-traits.js'
import type { Unit } from './problems/learned-problem.js'
import { TokenTable } from './token-table.js'
import { spansThatCutWords, withServedWords } from './word-labels.js'
import { wordsBeginningIn } from './word-spans.js'
import { noToken, WordTable } from './word-table.js'

/** Examples that are tokenised concurrently, off the main thread. */
const tokenizerBatch = 512

export interface LoadWatch extends ExampleWatch {
  /** Receives each example, in the order of the set. */
  readonly onExample?: (example: Example) => void
}

/**
 * Reads and tokenises a file.
 * @param form how texts become tokens
 * @param onWarning receives which rows have no text, and how many words have no token
 * @param vocabulary size of the tokenizer's vocabulary
 * @throws Problem `invalid_data`, `unreadable_file`
 */
export async function loadExampleSet(
  path: string,
  columns: Columns,
  space: LabelSpace,
  tokenizer: TextTokenizer,
  form: TextForm,
  vocabulary: number,
  watch: LoadWatch = {},
): Promise<ExampleSet> {
  const traits = problemTraits[space.problem]
  const tokens = new TokenTable(vocabulary)
  const words = traits.unit === 'word' ? new WordTable() : undefined
  const targets = new GrowingArray(new Float32Array())
  const counts = { examples: 0, pairs: 0, cut: 0 }
  let cutSpans = 0
  let pending: Example[] = []
  const flush = async () => {
    const encoded = await Promise.all(pending.map((example) => encode(tokenizer, form, example, traits.unit)))
    for (const [i, example] of pending.entries()) {
      const texts = encoded[i] ?? []
      counts.examples++
      if (example.textPair !== undefined && traits.unit === 'text') counts.pairs++
      if (texts.some(({ isCut }) => isCut)) counts.cut++
      for (const { inputIds, tokenTypeIds } of texts) tokens.add(inputIds, tokenTypeIds)
      const [text] = texts
      const served = words && text ? splitWords(text.text, text.encoding, text.prefixLength, space.words) : []
      for (const { span, word } of spansThatCutWords(example, served))
        if (cutSpans++ < maxSingleWarnings) watch.onWarning?.(cutSpanWarning(example, span, word))
      const labelled = withServedWords(space, example, served)
      words?.add(firstTokens(labelled, served))
      targets.append(traits.targets(space, labelled))
    }
    pending = []
  }
  for await (const example of readExamples(path, columnsFor(space.problem, columns), watch)) {
    watch.onExample?.(example)
    pending.push(example)
    if (pending.length === tokenizerBatch) await flush()
  }
  await flush()
  if (cutSpans > maxSingleWarnings)
    watch.onWarning?.(`${path}: ${cutSpans - maxSingleWarnings} more entities begin or end inside a word`)
  if (words && words.missing > 0)
    watch.onWarning?.(
      `${path}: ${words.missing} words have no token, because their texts are truncated or the tokenizer drops them; ` +
        'they are not used for training, and count as wrong predictions',
    )
  if (counts.cut > 0)
    watch.onWarning?.(
      `${path}: ${counts.cut} of ${counts.examples} examples are longer than ${tokenizer.maxTokensOf(form)} tokens and are ` +
        'cut, in training and in serving; change the length with --max-length',
    )
  return {
    tokens,
    ...(counts.pairs === 0 && { inputs: 'text' }),
    ...(counts.pairs > 0 && counts.pairs === counts.examples && { inputs: 'pair' }),
    textsPerExample: traits.unit === 'pair' ? 2 : 1,
    ...(words && { words }),
    targets: targets.view().slice(),
    width: traits.width(space),
  }
}

/** Warnings about single entities; further ones are counted in one warning. */
const maxSingleWarnings = 5

const cutSpanWarning = ({ place, text }: Example, span: LabelledSpan, word: Span): string =>
  `${place}: the ${span.label} ${JSON.stringify(text.slice(span.start, span.end))} from ${span.start} to ${span.end} is ` +
  `only a part of the word ${JSON.stringify(text.slice(word.start, word.end))}; the whole word gets the label`

async function encode(
  tokenizer: TextTokenizer,
  form: TextForm,
  { text, textPair }: Example,
  unit: Unit,
): Promise<readonly EncodedText[]> {
  if (unit !== 'pair') return [await tokenizer.encode({ text, ...(textPair !== undefined && { textPair }) }, form)]
  if (textPair === undefined) throw new Error('a pair has no second text')
  return Promise.all([tokenizer.encode({ text }, form), tokenizer.encode({ text: textPair }, form)])
}

const firstTokens = ({ words = [] }: Example, served: readonly Word[]): readonly number[] =>
  wordsBeginningIn(words, served).map((at) => served[at]?.token ?? noToken)
