// The names of labels as examples. A rare label has few examples, and its name says what they have in common.

import type { TextForm, TextTokenizer } from '../backbones/tokenizer.js'
import { type LabelSpace, outputCount } from '../data/label-space.js'
import { type Subset, wholeSet } from './example-set.js'
import { TokenTable } from './token-table.js'

/**
 * One example for each label of a multi-label classification: its name, to which this label alone applies.
 * @param form how texts become tokens
 * @param vocabulary size of the tokenizer's vocabulary
 * @param most examples; with more labels there are none, because names would outweigh the examples of the data
 */
export async function labelNameExamples(
  space: LabelSpace,
  tokenizer: TextTokenizer,
  form: TextForm,
  vocabulary: number,
  most: number,
): Promise<Subset | undefined> {
  const C = outputCount(space)
  if (space.problem !== 'multi_label_classification' || C > most) return undefined
  const tokens = new TokenTable(vocabulary)
  const encoded = await Promise.all(space.labels.map((text) => tokenizer.encode({ text }, form)))
  for (const { inputIds, tokenTypeIds } of encoded) tokens.add(inputIds, tokenTypeIds)
  const targets = Float32Array.from({ length: C * C }, (_, at) => (at % (C + 1) === 0 ? 1 : 0))
  return wholeSet({ tokens, textsPerExample: 1, targets, width: C })
}
